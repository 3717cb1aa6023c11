"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The version of dramaeval; "0+unknown" in a checkout that is not installed."""
    try:
        return version("dramaeval")
    except PackageNotFoundError:
        return "0+unknown"
