"""FlexMatch: a class that is rarely predicted with confidence has a lower threshold."""
