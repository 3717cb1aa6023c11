"""The stage ``serve``: a judge over HTTP, with dynamic batches and a small web page. Needs the extra ``serve``."""
