import json

import numpy as np
import pytest
import torch
from examples import dataset, image_set

from dakd.evaluate import evaluate, extract
from dakd.metrics import rank_metrics
from dakd.model import build_model
from dakd.protocols import sysu_trials


def test_extract_keeps_the_order_and_does_not_depend_on_the_batch():
    images, model = image_set(range(1, 4)), build_model("small")
    one, many = (extract(model, images, batch=n, device="cpu") for n in (5, 100))
    torch.testing.assert_close(one, many)
    some = extract(model, images, rows=np.array([7, 2]), device="cpu")
    torch.testing.assert_close(some, many[[7, 2]])


def test_extract_restores_training_mode_and_leaves_batch_statistics_alone():
    model = build_model("small").train()
    before = model.neck.running_mean.clone()
    extract(model, image_set([1]), device="cpu")
    assert model.training
    assert torch.equal(model.neck.running_mean, before)


def test_extract_refuses_a_network_that_holds_nan():
    model = build_model("small")
    with torch.no_grad():
        model.neck.weight.fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"embeddings are not finite, that of Record\(pid=1"
    ):
        extract(model, image_set([1]), device="cpu")


@pytest.mark.parametrize(("mode", "gallery"), [("all", 20 * 4), ("indoor", 20 * 2)])
def test_perfect_embeddings_give_a_perfect_table(mode, gallery):
    data = dataset()
    z = torch.eye(40)[torch.from_numpy(data.test.pids)]
    result = evaluate(z, data, mode=mode, trials=3)
    assert (result.mean == 1).all()
    assert (result.std == 0).all()
    assert len(result.trials) == 3
    assert result.header["gallery_images"] == gallery
    assert result.header["queries"] == result.header["valid_queries"] == 20 * 2 * 2


def test_the_table_is_made_of_the_trials_metrics():
    data = dataset()
    z = torch.randn(len(data.test), 8, generator=torch.Generator().manual_seed(0))
    result = evaluate(z, data, trials=2)
    trial = sysu_trials(data.test, trials=2)[1]
    expected = rank_metrics(
        z[trial.query] @ z[trial.gallery].T,
        data.test.pids[trial.query],
        data.test.pids[trial.gallery],
        data.test.cams[trial.query],
        data.test.cams[trial.gallery],
        protocol="sysu",
    )
    row = result.trials.iloc[1]
    assert row["rank1"] == expected.cmc[1]
    assert row["mAP"] == expected.mAP
    np.testing.assert_allclose(result.mean["mAP"], result.trials["mAP"].mean())
    np.testing.assert_allclose(result.std["mAP"], np.std(result.trials["mAP"], ddof=1))


def test_a_network_and_its_embeddings_give_the_same_table():
    data, model = dataset(), build_model("small")
    z = extract(model, data.test, device="cpu")
    a, b = (evaluate(m, data, trials=2, device="cpu") for m in (model, z))
    assert a.trials.equals(b.trials)


def test_the_record_says_how_it_was_made_and_can_be_saved(tmp_path):
    data = dataset()
    result = evaluate(torch.eye(40)[torch.from_numpy(data.test.pids)], data, shots=10, trials=2)
    for said in (
        "all-search",
        "10-shot",
        "infrared → visible",
        "agw",
        "flip off",
        "re-ranking off",
    ):
        assert said in str(result)
        assert said in result._repr_html_()
    record = json.loads(result.save(tmp_path / "r.json").read_text())
    assert record["mean"]["rank1"] == 1.0
    assert record["data_fingerprint"] == data.fingerprint
    assert len(record["trials"]) == 2


def test_bad_requests_are_refused():
    data = dataset()
    z = torch.zeros(len(data.test), 4)
    with pytest.raises(ValueError, match="protocol 'market' cannot be evaluated"):
        evaluate(z, data, protocol="market")
    with pytest.raises(ValueError, match="3 embeddings given for"):
        evaluate(z[:3], data)
    with pytest.raises(ValueError, match="'example' has no folder"):
        evaluate(z, data, sampling="official")
    with pytest.raises(ValueError, match="[Nn]ot finite|non-finite"):
        evaluate(z + float("nan"), data)
