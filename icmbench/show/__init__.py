"""Tables in every form, and figures. No torch."""
