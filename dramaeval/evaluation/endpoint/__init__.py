"""A judge behind an OpenAI-compatible chat endpoint: requests, replies, and predictions from them."""
