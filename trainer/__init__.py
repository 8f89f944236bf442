"""Train class-incremental methods on long-tailed images.

    import trainer

    file = trainer.load_run("runs/digits_lfs5.yaml")
    (result,) = trainer.train([file.config])
    print(result.acc_task_mean_pct)

A public name is imported when it is first used: ``import trainer`` alone does not import torch.

Names of tensors and arrays end in their shape, a letter for each axis: ``logits_MBK`` is ``[M, B, K]``; a digit is a
size.

====  =======================================================================
M     members: runs that are trained together; a single run is M = 1
B     images of a batch
N     images, of a split, a pool or an epoch
n     images of a task or a class
A     all training images
E     exemplars of a member
C     classes of the data set; channels, in the pixels of images
K     classes seen so far, old ones first
m     old classes: of earlier tasks
c     classes of the current task
h     classes of one earlier task
T     tasks so far
D     features
R     rows of a classifier: proxies of classes, or its first rows
P     proxies of a class
H, W  height and width in pixels
Y, X  rows and columns of a crop
L     pixels of an axis with its padding
U     uniform random numbers of an image
J     draws in a row: attempts of a random crop, images of a class in a sampler
V     visits of a sampler to each class
S     steps of an epoch
G     groups of images
k     the first few of a ranking
====  =======================================================================
"""

from trainer.lazy import on_first_use
from trainer.platform import refuse_windows
from trainer.signals import end_imports_quietly

_HOMES = {
    "trainer.errors": {
        *("CheckpointError", "ConfigError", "DataError", "Error", "StoreError", "TrainingStopped", "UserError"),
    },
    "trainer.config.files": {"RunFile", "dump_run", "load_run", "parse_run"},
    "trainer.config.run_config": {"RunConfig"},
    "trainer.model.file": {"ModelError"},
    "trainer.model.model": {"Model", "Prediction", "load_model"},
    "trainer.results.rows": {"RunResult"},
    "trainer.training.checkpoint": {"CheckpointSlot", "FileSlot"},
    "trainer.training.loop": {"EpochReport"},
    "trainer.training.observer": {"MemberReport", "Observer", "TaskReport"},
    "trainer.training.options": {"DeviceOptions"},
    "trainer.training.session": {"train"},
}

__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605

end_imports_quietly()
refuse_windows()


__getattr__ = on_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
