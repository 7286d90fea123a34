"""Reports: from the database to files and links.

render() makes a file of data; request_report, prepare_report and finish_report are a report's life.
"""

from callboard.reports.errors import (
    InvalidReport,
    ReportTooSlow,
    StorageMisconfigured,
    StorageRejected,
    StorageUnavailable,
    StoredFileDiffers,
    TypesetterLost,
    TypesettingFailed,
)
from callboard.reports.formats.rendering import render
from callboard.reports.lifecycle import (
    ReadyReport,
    Report,
    fail_report,
    find_report,
    finish_report,
    prepare_report,
    request_report,
)
from callboard.reports.storage.files import StoredFile, fetch, probe, remove_files, store
from callboard.reports.storage.links import VALID_FOR, check_signature, report_link

__all__ = [
    "VALID_FOR",
    "InvalidReport",
    "ReadyReport",
    "Report",
    "ReportTooSlow",
    "StorageMisconfigured",
    "StorageRejected",
    "StorageUnavailable",
    "StoredFile",
    "StoredFileDiffers",
    "TypesetterLost",
    "TypesettingFailed",
    "check_signature",
    "fail_report",
    "fetch",
    "find_report",
    "finish_report",
    "prepare_report",
    "probe",
    "remove_files",
    "render",
    "report_link",
    "request_report",
    "store",
]
