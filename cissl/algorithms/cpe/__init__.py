"""CPE: three experts for three class distributions, on three copies of the last BatchNorm for groups of classes."""
