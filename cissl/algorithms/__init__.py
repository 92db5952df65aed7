"""The methods: FixMatch and the paper's three additions, as pure functions of tensors."""
