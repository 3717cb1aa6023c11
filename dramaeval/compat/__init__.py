"""Private parts of other libraries: one module per library, one contract test per entry."""
