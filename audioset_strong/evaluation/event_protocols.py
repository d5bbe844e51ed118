"""On which clips and classes, and how finely, event metrics are measured, as others measure them.

Sources: Schmid et al. 2024, "Effective pre-training of audio transformers for sound event
detection", https://arxiv.org/abs/2409.09546, and their code,
https://github.com/fschmid56/PretrainedSED
"""

import dataclasses

from audioset_strong.core import choices


@dataclasses.dataclass(frozen=True)
class EventProtocol:
    """What is measured.

    Attributes:
      hop_s: seconds from the start of one frame to the start of the next.
      median_s: length of the median filter over the scores, in seconds.
      mids_left_out: classes whose events do not count.
      needs_event: whether clips without an event that counts are left out.
    """

    hop_s: float
    median_s: float
    mids_left_out: frozenset[str] = frozenset()
    needs_event: bool = False


# Of AudioSet's 456 classes with strong labels, those with events in the eval set alone. Another 40
# have events in the training set alone, and are left out like all classes without events; 407 are
# in both.
AUDIOSET_EVAL_ONLY = frozenset(
    {
        "/m/01j3j8",  # Studio recording
        "/m/01jg1z",  # Heart murmur
        "/m/01jwx6",  # Vibration
        "/m/028v0c",  # Silence
        "/m/07hvw1",  # Unmodified field recording
        "/m/07p_0gm",  # Throbbing
        "/t/dd00098",  # Source-ambiguous sounds
        "/t/dd00129",  # Outside, rural or natural
        "/t/dd00133",  # Specific impact sounds
    }
)

PROTOCOLS = {
    choices.EVERY_EVENT: EventProtocol(hop_s=0.16, median_s=0.48),
    # PretrainedSED filters 9 frames of 40 ms.
    choices.PRETRAINED_SED: EventProtocol(
        hop_s=0.04, median_s=0.36, mids_left_out=AUDIOSET_EVAL_ONLY, needs_event=True
    ),
}
