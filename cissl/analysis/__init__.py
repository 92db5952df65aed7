"""From trial folders to tables, curves and reports, from records alone: loads neither torch nor ray.

from cissl.analysis import load

records = load(["~/ray_results/digits_lt"])
records.trial_frame()        # one line per trial: settings, split, state and figures
records.evaluation_frame()   # one line per trial and evaluation
"""

from cissl.analysis.results import Records, Trial, load

__all__ = ["Records", "Trial", "load"]
