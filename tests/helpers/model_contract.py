"""What every model must keep, as checks of a given model: the same for the registry's and for a user's own."""

import numpy as np

from audiornn.backend import keras, tf
from audiornn.codec import CODES

# Small sizes of every model, with which tests take seconds.
SMALL = {
    "samplernn": {"frames": [8, 2], "units": 12, "embedding": 6, "lookback": 5, "dense": 10},
    "audiornn": {"dense": 24, "units": 20, "layers": 2},
    "linear": {"frames": [8, 2], "units": 12, "layers": 2, "embedding": 6, "lookback": 5, "dense": 10, "residual": 2},
    "lpcmix": {"hidden": 24, "units": 20, "frame": 8, "mixture": 3, "history": 5, "predictors": [[8, 40, 4]]},
}


def shaken(model, seed=0, size=0.2):
    """The model with weights and moving statistics that are all away from their start values."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        noise = size * random.standard_normal(variable.shape)
        variable.assign(np.abs(variable.numpy() + noise) if "variance" in variable.path else variable + noise)
    return model


def trained(model, codes, steps=8):
    """The model after some updates on codes [B, T]: its weights and moving statistics are of one making."""
    optimizer = keras.optimizers.Adam(0.01)

    def update():  # eager: tracing it would take longer than its few calls
        with tf.GradientTape() as tape:
            logits = model(codes[:, :-1], training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(codes[:, 1:], tf.int32), logits)
            )
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    losses = [float(update()) for _ in range(steps)]
    assert losses[-1] < losses[0]
    return model


def codes_of(batch, time, seed=1):
    return np.random.default_rng(seed).integers(0, CODES, (batch, time)).astype(np.uint8)


def stepper(model):
    """A compiled function of codes [B, T] and a state: logits [B, T, 256] and state of stepping through the codes."""

    @tf.function(reduce_retracing=True)
    def run(codes, state):
        flat, time = tf.nest.flatten(state), tf.shape(codes)[0]

        def body(t, flat, kept):
            logits, after = model.step(codes[t], tf.nest.pack_sequence_as(state, flat))
            return t + 1, tf.nest.flatten(after), kept.write(t, logits)

        _, flat, kept = tf.while_loop(
            lambda t, *_: t < time, body, (0, flat, tf.TensorArray(tf.float32, time)), parallel_iterations=1
        )
        return kept.stack(), tf.nest.pack_sequence_as(state, flat)

    def stepped(codes, state):
        logits, state = run(tf.constant(codes.T), state)
        return logits.numpy().transpose(1, 0, 2), state

    return stepped


def check_that_both_forms_are_one_network(model, batch, time=3000):
    codes = codes_of(batch, time)
    logits, _ = stepper(model)(codes, model.initial_state(batch))
    assert logits.shape == (batch, time, CODES)
    assert np.ptp(logits) > 1  # they say something
    np.testing.assert_allclose(model(codes).numpy(), logits, atol=1e-4)


def check_that_a_prompt_of_any_length_leaves_the_state_of_stepping_through_it(model, batch=3):
    stepped, hop = stepper(model), model.hop
    codes = codes_of(batch, 3 * hop + 20)
    expected, _ = stepped(codes, model.initial_state(batch))
    for length in sorted({1, hop - 1, hop, hop + 1, 2 * hop + 3} - {0}):
        logits, state = model.prefill(codes[:, :length], model.initial_state(batch))
        np.testing.assert_allclose(logits.numpy(), expected[:, length - 1], atol=1e-4, err_msg=f"prompt of {length}")
        logits, _ = stepped(codes[:, length:], state)
        np.testing.assert_allclose(logits, expected[:, length:], atol=1e-4, err_msg=f"after a prompt of {length}")


def check_that_chunks_have_the_logits_of_the_whole(model, batch=2):
    """A sequence in chunks, with the state carried between them, has the logits of the whole sequence."""
    codes = codes_of(batch, 5 * model.hop + 3)
    state, made = model.initial_state(batch), []
    for begin, end in ((0, 2), (2, 3), (3, None)):
        piece = codes[:, begin * model.hop : end and end * model.hop]
        logits, state = model.forward(piece, state)
        made.append(logits.numpy())
    np.testing.assert_allclose(np.concatenate(made, 1), model(codes).numpy(), atol=1e-4)


def check_that_no_logit_depends_on_later_codes(model):
    codes = codes_of(2, 100)
    for end in (60, 60 + model.hop // 2 + 1):
        changed = codes.copy()
        changed[:, end:] = codes_of(2, 100, seed=9)[:, end:]
        before, after = model(codes).numpy(), model(changed).numpy()
        np.testing.assert_array_equal(before[:, :end], after[:, :end])
        assert np.abs(before[:, end:] - after[:, end:]).max() > 1e-3


def check_that_the_last_logits_alone_are_the_last_of_all(model):
    codes = codes_of(2, 50)
    logits = model(codes).numpy()
    for num_last in (1, 10, 50):
        np.testing.assert_allclose(model(codes, num_last=num_last).numpy(), logits[:, -num_last:], atol=1e-5)


def check_that_codes_that_fill_up_a_batch_change_nothing_in_training(make):
    codes = codes_of(2, 40)
    filled = np.concatenate([codes, codes_of(2, 15, seed=5)], axis=1)
    mask = np.arange(55)[None] < np.array([[40], [40]])
    plain, padded = make(), make()
    logits = plain(codes, training=True).numpy()
    np.testing.assert_allclose(padded(filled, training=True, padding_mask=mask).numpy()[:, :40], logits, atol=1e-4)
    for a, b in zip(plain.variables, padded.variables, strict=True):  # moving statistics among them
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


def check_that_gradients_in_parallel_are_those_of_the_steps(model, time=25):
    codes = codes_of(2, time)

    def in_steps():
        state, logits = model.initial_state(2), []
        for t in range(time):
            out, state = model.step(tf.constant(codes[:, t]), state)
            logits.append(out)
        return tf.stack(logits, 1)

    gradients = []
    for form in (lambda: model(codes), in_steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(form()))
        gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)])
    for variable, parallel, steps in zip(model.trainable_variables, *gradients, strict=True):
        scale = float(tf.reduce_max(tf.abs(steps)))
        assert scale > 0, f"{variable.path} does not take part"
        np.testing.assert_allclose(parallel, steps, atol=1e-4 * scale, err_msg=variable.path)
