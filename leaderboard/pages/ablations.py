"""To come."""

TITLE, ICON = "Ablations", ":material/compare:"


def show(context):
    pass
