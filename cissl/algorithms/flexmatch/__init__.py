"""FlexMatch: a class that is seldom predicted with confidence has a lower threshold."""
