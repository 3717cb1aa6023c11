"""The product: a judge of acted speech, from annotated clips to a report."""
