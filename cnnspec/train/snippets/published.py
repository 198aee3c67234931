"""Published sets: where they lie, and where they are downloaded from."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

from cnnspec.train.snippets.parts import DataError

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
MNIST_SHA256 = {
    "train-images": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_MNIST_SHA256 = {
    "train-images": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR100_SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"


def published(name: str, url: str, files: dict[str, str]) -> Path:
    """The folder with a published set, downloaded into the user's cache if need be.

    `files` gives the SHA-256 of each.
    """
    system = Path("/usr/share/datasets", name)
    if all((system / file).is_file() for file in files):
        return system
    import pooch

    cache = Path(pooch.os_cache("cnnspec")) / name
    for file, sha256 in files.items():
        try:
            pooch.retrieve(
                f"{url}/{file}",
                known_hash=f"sha256:{sha256}",
                fname=file,
                path=cache,
                progressbar=sys.stderr.isatty(),
            )
        except (OSError, ValueError) as error:
            reason = why(error, url)
            help = f"put {file} into {cache}, or say with --data where it lies"
            raise DataError(f"cannot download {url}/{file}: {reason}; {help}") from None
    return cache


def idx_files(sha256: dict[str, str]) -> dict[str, str]:
    """The four files of MNIST and its likes by their whole names."""
    axes = {"images": 3, "labels": 1}
    return {
        f"{name}-idx{axes[name.partition('-')[2]]}-ubyte.gz": digest
        for name, digest in sha256.items()
    }


def why(error: Exception, url: str) -> str:
    """Why a download failed, in a few words."""
    host = urlsplit(url).netloc
    response = getattr(error, "response", None)
    if response is not None:
        return f"{host} answers {response.status_code} {response.reason}"
    if isinstance(error, ValueError):
        return "what came is not the published file, its SHA-256 is another"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the connection to {host} failed"
