"""The words of the language that are no ops: what every layer takes, the structures, the names with a meaning."""

COMMON = ("name", "from", "if", "repeat", "first")
STRUCTURES = ("residual", "stage", "table")
SHORTCUTS = ("auto", "identity", "projection")
RESERVED = {"input": "the network's or the block's input", "previous": "the layer before"}
BLOCK_KEYS = ("args", "let", "description", "layers")
TOP_LEVEL = (
    "cnnspec",
    "name",
    "cite",
    "description",
    "extends",
    "use",
    "input",
    "params",
    "let",
    "defaults",
    "blocks",
    "layers",
    "outputs",
    "preprocess",
    "labels",
    "transfer",
    "train",
)
