"""The methods: one folder each; `contract` says what a method is, `cards` which there are."""
