"""The published schema; for now FastAPI's own."""

from fastapi import FastAPI


def install_schema(app: FastAPI) -> None:
    """"""
