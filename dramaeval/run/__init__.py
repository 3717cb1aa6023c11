"""One run, start to end: check, plan, train, evaluate, report; and how it resumes."""

import logging

# On some processors bitsandbytes advises at every import to fetch a kernel from the hub, whatever is asked for.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
