"""One run, start to end: check, plan, train, evaluate, report; and how it resumes."""
