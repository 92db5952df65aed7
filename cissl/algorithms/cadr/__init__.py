"""Class-Aware Propensity, Class-Aware Imputation and their doubly robust term (Hu et al., ICLR 2022)."""
