"""The stages of a run, one file each under the name that the user types; the context that they share; the pipeline."""
