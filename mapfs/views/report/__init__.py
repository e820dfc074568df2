"""A report: a picture of all demands over time and offset, with tables, as one page that needs nothing else.

`parts` and `scan` read the trace once; `grid` keeps the picture of a long one small; `tables`, `marks` and `unasked`
make the dataclasses of `model` of what they found, and `page` the HTML, whose script draws it.
"""

from mapfs.views.report.build import report_of
from mapfs.views.report.model import Report
from mapfs.views.report.page import page_of

__all__ = ["Report", "page_of", "report_of"]
