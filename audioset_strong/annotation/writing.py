"""Writes merged answers as metadata that the converter reads, and what there is to know of them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong.annotation import answers, merging
from audioset_strong.annotation.questions import UNSURE
from audioset_strong.core import errors, files
from audioset_strong.labels import metadata, metadata_writing

NEGATIVES_FILE, POSITIVES_FILE, STRONG_FILE = "negatives.tsv", "positives.tsv", "strong.tsv"
AGREEMENT_FILE, DISAGREEMENTS_FILE = "agreement.csv", "disagreements.csv"
RATES_FILE = "rates.csv"


@dataclasses.dataclass(frozen=True)
class ImportedAnswers:
    """What was imported.

    Attributes:
      questions: number of questions that were asked.
      merged: what the annotators say together.
      agreement: see `merging.agreement`.
      rates: see `merging.rates`.
      unsure: number of answers of unsure, which decide nothing.
      skipped: what holds no answer -> how often it occurs.
    """

    questions: int
    merged: merging.Merged
    agreement: pd.DataFrame
    rates: pd.DataFrame
    unsure: int
    skipped: Mapping[str, int]

    def summary(self) -> str:
        """What was imported, in a few lines."""
        merged = self.merged
        silent = sum(not segments for segments in merged.strong.values())
        lines = [
            f"{self.questions} questions: {len(merged.negatives)} explicit negatives, "
            f"{len(merged.positives)} classes present without times",
            f"{len(merged.strong) - silent} clips with strong labels"
            + f", {silent} clips without any sound, which {STRONG_FILE} cannot list" * bool(silent),
        ]
        if len(merged.disagreements):
            lines.append(
                f"{len(merged.disagreements)} disagreements in {DISAGREEMENTS_FILE}; "
                f"{len(merged.withheld)} clips are not in {STRONG_FILE} because of them "
                "(--prefer settles them)"
            )
        for row in self.agreement[self.agreement["label"] == ""].itertuples():
            lines.append(
                f"{row.annotator_1} and {row.annotator_2} agree on {row.agreement:.1%} of "
                f"{row.clips} answers (kappa {row.kappa:.2f})"
            )
        for row in self.rates[self.rates["label"] == ""].itertuples():
            if row.answered:
                lines.append(
                    f"{row.group}: the class is there in {row.present} of {row.answered} answered "
                    f"questions ({row.rate:.1%}, 95% interval {row.low:.1%} to {row.high:.1%})"
                )
        if self.unsure:
            lines.append(f"{self.unsure} answers of unsure")
        lines += [f"{count} {what}" for what, count in self.skipped.items()]
        return "\n".join(lines)


def import_answers(
    selection_dir: str, paths: Sequence[str], *, output_dir: str, prefer: str | None = None
) -> ImportedAnswers:
    """Reads answers, merges them, and writes them.

    Args:
      selection_dir: the directory that `tasks.write` wrote.
      paths: of the answers, see `answers.Answers.read`.
      output_dir: gets negatives.tsv and strong.tsv for the converter; positives.tsv, the classes
        that were confirmed without times; agreement.csv, disagreements.csv and rates.csv.
      prefer: an annotator whose opinion holds wherever there are several.

    Raises:
      errors.InputError: see `answers.Answers.read` and `merging.merge`; or no answer at all.
    """
    selection = answers.Selection.read(selection_dir)
    repeated = files.first_repeated(paths)
    if repeated:
        raise errors.InputError(f"--answers={repeated[1]}: given twice")
    given = answers.Answers(selection)
    for path in paths:
        given.read(path)
    merged = merging.merge(given, prefer=prefer)
    if not given.verdicts and not given.marked:
        raise errors.InputError(f"{', '.join(paths)}: no answer to any question")
    agreement = merging.agreement(given, selection.vocabulary)
    rates = merging.rates(merged, selection)
    segments = [
        (clip_id, metadata_writing.seconds(start_ms), metadata_writing.seconds(end_ms), mid)
        for clip_id, found in merged.strong.items()
        for start_ms, end_ms, mid in found
    ]
    with files.writing(output_dir):
        files.make_directory(output_dir)
        for name, table in (
            (AGREEMENT_FILE, agreement),
            (DISAGREEMENTS_FILE, merged.disagreements),
            (RATES_FILE, rates),
        ):
            files.write_text(os.path.join(output_dir, name), table.to_csv(index=False))
    for name, pairs in ((NEGATIVES_FILE, merged.negatives), (POSITIVES_FILE, merged.positives)):
        metadata_writing.write_rows(
            os.path.join(output_dir, name), metadata.NEGATIVES_HEADER, pairs
        )
    metadata_writing.write_rows(
        os.path.join(output_dir, STRONG_FILE), metadata.STRONG_HEADER, segments
    )
    return ImportedAnswers(
        questions=len(selection.asked),
        merged=merged,
        agreement=agreement,
        rates=rates,
        unsure=sum(verdict.answer == UNSURE for verdict in given.verdicts),
        skipped=given.skipped,
    )
