"""Every error a user can cause. Each says what was received, what was expected, and how to fix it."""


class TradewindError(Exception):
    """Base of all errors that are the input's fault, not the program's; shown without a traceback."""


class RecipeError(TradewindError):
    """The recipe, or an override of it, is wrong: unknown key, wrong type, impossible combination."""


class SourceError(TradewindError):
    """A data source is missing, empty, unreadable, or lacks a column that the recipe names."""


class ValidationFailed(TradewindError):
    """A critical check on the data failed; nothing after `validate` may run."""


class BackendError(TradewindError):
    """The Keras backend or the data engine that the recipe asks for is not to be had in this process."""


class ClusterError(BackendError):
    """The cluster that the recipe names does not answer now; it may later."""


class StoreError(TradewindError):
    """The store cannot do what was asked: unknown reference, unwritable root, unsupported address."""


class CheckpointError(TradewindError):
    """A checkpoint does not fit the model, the recipe, or the backend that wants to resume from it."""


class PublishError(TradewindError):
    """An export did not prove itself, or the registry refused it; the champion is untouched."""


class IntegrityError(PublishError):
    """The files of a version are not those that were registered, or lack the signature that is asked for."""


class DeliveryError(PublishError):
    """A registered version could not be brought to one of its targets; it is registered, and the champion serves."""


class Interrupted(TradewindError):
    """A signal stopped the step or a worker of it; the same command goes on from there. Exit status 75: retry me."""


class TrainingError(TradewindError):
    """Training cannot go on: the loss is not a number, or a batch cannot be made."""


class Diverged(TrainingError):
    """A training that began ran away: its loss became no number, or spiked again and again."""


class DriftError(TradewindError):
    """The data cannot be compared with what the champion was trained on, so nothing is known of their drift."""
