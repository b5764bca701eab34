"""The pages."""

from fastapi import FastAPI


def add_pages(api: FastAPI) -> None:
    """Add the pages to the application."""
