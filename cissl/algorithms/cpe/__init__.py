"""CPE: three experts for three class distributions, and a last BatchNorm in three copies for groups of classes."""
