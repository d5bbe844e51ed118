"""The log-mel front end: VGGish's constants, one function for every place that needs it.

Source: Hershey et al. 2017, "CNN Architectures for Large-Scale Audio Classification", section 2,
with the constants of the released VGGish. Section 4 of the strong-labels paper keeps them.
"""

import gin
import tensorflow as tf

SAMPLE_RATE = 16_000
HOP_SAMPLES = 160  # 10 ms
WINDOW_SAMPLES = 400  # 25 ms
PATCH_FRAMES = 96
PATCH_BANDS = 64
# 96 windows of 25 ms at a 10 ms hop reach over 0.975 s, 15 ms more than the 0.96 s that is
# labelled.
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES


@gin.configurable
def log_mel(
    waveform: tf.Tensor,
    sample_rate: int = SAMPLE_RATE,
    window_samples: int = WINDOW_SAMPLES,
    hop_samples: int = HOP_SAMPLES,
    fft_length: int = 512,
    num_bands: int = PATCH_BANDS,
    lower_hz: float = 125.0,
    upper_hz: float = 7500.0,
    offset: float = 0.01,
) -> tf.Tensor:
    """Log-mel spectrogram of waveforms.

    Args:
      waveform: float32 `[..., samples]` in [-1, 1].
      sample_rate: Hz.
      window_samples: length of the periodic Hann window.
      hop_samples: samples between the starts of neighbouring windows.
      fft_length: points of the FFT; at least `window_samples`.
      num_bands: mel bands (HTK mel scale, triangles of height one, the DC bin left out).
      lower_hz: lower edge of the lowest band.
      upper_hz: upper edge of the highest band.
      offset: added to the mel magnitudes before the natural logarithm.

    Returns:
      float32 `[..., frames, num_bands]`, frames = 1 + (samples - window_samples) // hop_samples;
      a patch of 15,600 samples gives `[..., 96, 64]`.
    """
    spectrum = tf.signal.stft(
        waveform, window_samples, hop_samples, fft_length, window_fn=tf.signal.hann_window
    )  # [..., frames, fft_length // 2 + 1]
    mel_weights = tf.signal.linear_to_mel_weight_matrix(
        num_bands, fft_length // 2 + 1, sample_rate, lower_hz, upper_hz
    )
    # tf.abs guards against overflow with hypot, which takes more time than the FFT.
    magnitude = tf.sqrt(tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum)))
    return tf.math.log(tf.tensordot(magnitude, mel_weights, 1) + offset)
