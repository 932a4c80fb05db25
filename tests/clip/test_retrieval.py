"""clip/retrieval.py: recalls by counting, ties against the model, images without a caption."""

import pytest
import torch

pytest.importorskip("open_clip")
from ultralytics_diffattn.clip.retrieval import recalls


def test_recalls_by_counting():
    generator = torch.Generator().manual_seed(0)
    image_embeddings = torch.nn.functional.normalize(torch.randn(30, 4, generator=generator), dim=-1)
    image_of_text = torch.randint(0, 30, (50,), generator=generator)
    text_embeddings = torch.nn.functional.normalize(
        image_embeddings[image_of_text] + torch.randn(50, 4, generator=generator), dim=-1
    )
    results = recalls(image_embeddings, text_embeddings, image_of_text)
    similarity = text_embeddings @ image_embeddings.T
    for k in (1, 5, 10):
        text = [image_of_text[i] in similarity[i].topk(k).indices for i in range(50)]
        image = [
            bool((image_of_text[similarity[:, j].topk(k).indices] == j).any())
            for j in range(30)
            if (image_of_text == j).any()
        ]
        assert results["text_to_image"][f"R@{k}"] == pytest.approx(sum(text) / 50)
        assert results["image_to_text"][f"R@{k}"] == pytest.approx(sum(image) / len(image))
        assert 0 < sum(text) < 50 or k == 10


def test_ties_count_against_the_model():
    """An untrained model that embeds all alike must not look perfect."""
    alike = torch.ones(4, 2)
    expected = {"R@1": 0.0, "R@5": 1.0}
    assert recalls(alike, alike, torch.arange(4), ks=(1, 5)) == {"text_to_image": expected, "image_to_text": expected}
