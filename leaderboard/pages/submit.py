"""To come."""

TITLE, ICON = "Submit", ":material/compare:"


def show(context):
    pass
