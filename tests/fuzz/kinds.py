"""All kinds of input, by name."""

from tests.fuzz import commands, images, results
from tests.fuzz.case import Kind

KINDS: dict[str, Kind] = {
    "split-names": commands.split_names,
    "splits": commands.splits,
    "sweep-files": commands.sweep_files,
    "training-flags": commands.training_flags,
    "command-lines": commands.command_lines,
    "own-files": commands.own_files,
    "own-folders": images.own_folders,
    "own-archives": images.own_archives,
    "own-arrays": images.own_arrays,
    "official-sources": images.official_sources,
    "prepared-data": images.prepared_data,
    "records": results.records,
    "searches": results.searches,
    "checkpoints": results.checkpoints,
    "sweeps": results.sweeps,
}
