"""What can go wrong with a report, and whether trying again may help."""

from __future__ import annotations

from callboard.errors import PermanentError, TemporaryError


class InvalidReport(PermanentError):
    """The request or its data can never become a report: unknown kind, bad parameter, too many rows."""


class TypesettingFailed(PermanentError):
    """The template cannot be set with this data; only a new version of the template helps."""


class TypesetterLost(TemporaryError):
    """The typesetting process died or none came free; nothing is known against the report itself."""


class ReportTooSlow(TemporaryError):
    """Typesetting passed its wall-clock limit and was killed.

    Temporary, because rows and text are capped far below what the limit allows: a healthy machine does not
    reach it, a suspended or starved one does. The queue's retry limit bounds what a hostile report can cost.
    """


class StorageUnavailable(TemporaryError):
    """The storage of report files does not answer."""


class StorageMisconfigured(TemporaryError):
    """REPORT_STORAGE_URL or its credentials are wrong, or the place it names does not exist.

    Temporary, because nothing is wrong with the report: somebody corrects the settings or the storage, and until then
    it waits.
    """


class StorageRejected(TemporaryError):
    """The storage answers, and does not take this one call."""


class StoredFileDiffers(StorageUnavailable):
    """A stored file would be overwritten with other content.

    Temporary, because a report's file has its content's hash in its name: either the file was damaged, or it is a page
    of somebody in between.
    """
