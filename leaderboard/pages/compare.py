"""To come."""

TITLE, ICON = "Compare", ":material/compare:"


def show(context):
    pass
