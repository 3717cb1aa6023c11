"""Every reach into a private part or an internal assumption of another library, one module a library."""
