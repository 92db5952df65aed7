"""What may distinguish one trial from another: settings and the parts of its split's name."""

Value = str | int | float | None
Values = dict[str, Value]  # by name
Key = tuple[tuple[str, Value], ...]  # (name, value) pairs that identify a row or a column
