"""The shapes of files and batches. Times are Unix seconds; fields that do not apply are null."""

from typing import Literal

from pydantic import Field

from api.description.shapes import PageShape, Shape
from shared.batch import Stage
from shared.file import Purpose


class FileObject(Shape):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: str | None


class FileList(PageShape):
    data: list[FileObject]


class FileDeleted(Shape):
    id: str
    object: Literal["file"]
    deleted: bool


class BatchError(Shape):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(Shape):
    """What is wrong with lines of the input: the first hundred. Each is in the error file as well."""

    object: Literal["list"]
    data: list[BatchError]


class BatchCounts(Shape):
    """`total` is 0 until the lines were counted; at the end it is the sum of the others."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(Shape):
    cached_tokens: int


class OutputTokensDetails(Shape):
    reasoning_tokens: Literal[0]


class BatchUsage(Shape):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Batch(Shape):
    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Stage
    output_file_id: str | None = Field(description="The rows of the lines that succeeded, if any did.")
    error_file_id: str | None = Field(description="The rows of all others, if there are any.")
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(PageShape):
    data: list[Batch]
