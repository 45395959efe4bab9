"""From rows to what people read: tables in every form, and figures. No torch."""
