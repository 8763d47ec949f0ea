"""Stories: one at a time about each subject, coherent, and repeated with their id while they live."""

import numpy as np
import pytest

from tickerd.market.news import BLOCKS_PER_STORY, TAKES, Newsroom
from tickerd.market.universe import Universe

BLOCK = 448_880_400
UNIVERSE = Universe.load()


@pytest.fixture(scope="module")
def newsroom() -> Newsroom:
    return Newsroom(1, UNIVERSE)


def test_a_story_lives_for_its_time_and_then_another_one_begins(newsroom: Newsroom) -> None:
    ids = np.array([newsroom.stories(BLOCK + i).story_id for i in range(2 * BLOCKS_PER_STORY)])
    for subject in ids.T.tolist():
        changes = [i for i in range(1, len(subject)) if subject[i] != subject[i - 1]]
        assert len(changes) == 2 or (len(changes) == 1 and changes[0] == BLOCKS_PER_STORY)
        assert changes[-1] - changes[0] in {0, BLOCKS_PER_STORY}


def test_stories_of_different_subjects_begin_at_different_times(newsroom: Newsroom) -> None:
    now, then = newsroom.stories(BLOCK).story_id, newsroom.stories(BLOCK + 1).story_id
    assert 0 <= np.count_nonzero(now != then) < 8


def test_the_takes_of_a_story_repeat_its_words_and_its_id(newsroom: Newsroom) -> None:
    seen: dict[int, list[str]] = {}
    rows: dict[int, set[tuple[str, float]]] = {}
    for i in range(0, 2 * BLOCKS_PER_STORY, 8):
        stories = newsroom.stories(BLOCK + i)
        item, story = str(stories.news_item[0]), int(stories.story_id[0])
        rows.setdefault(story, set()).add((str(stories.category[0]), float(stories.sentiment[0])))
        if item not in seen.setdefault(story, []):
            seen[story].append(item)
    assert all(len(facts) == 1 for facts in rows.values())
    whole = [takes for takes in seen.values() if len(takes) == len(TAKES)]
    assert whole
    for takes in whole:
        assert takes == [prefix + takes[0] for prefix in TAKES]


def test_ids_are_unique_and_fit_into_every_json_reader(newsroom: Newsroom) -> None:
    blocks = range(BLOCK, BLOCK + 400 * BLOCKS_PER_STORY, BLOCKS_PER_STORY)
    ids = [story for block in blocks for story in newsroom.stories(block).story_id.tolist()]
    assert len(set(ids)) == len(ids) == 400 * (len(UNIVERSE.stocks) + len(UNIVERSE.currencies))
    assert all(0 <= story < 2**53 for story in ids)


def test_sentiment_follows_the_words_and_macro_stories_are_about_currencies(newsroom: Newsroom) -> None:
    tone = {headline.text: headline.sentiment for headline in UNIVERSE.headlines}
    names = [stock.name for stock in UNIVERSE.stocks] + [currency.name for currency in UNIVERSE.currencies]
    categories = set()
    for block in range(BLOCK, BLOCK + 20 * BLOCKS_PER_STORY, BLOCKS_PER_STORY):
        stories = newsroom.stories(block)
        for subject, (item, category, sentiment, story) in enumerate(zip(*stories, strict=True)):
            assert isinstance(story, int)
            assert (category == "macro") == (subject >= len(UNIVERSE.stocks))
            number = 2 + (story >> 4) % 14
            texts = [t for t in tone if item.endswith(t.format(name=names[subject], number=number))]
            wanted = tone[max(texts, key=len)]
            assert sentiment == round(sentiment, 2)
            assert abs(sentiment - wanted) <= 0.105
            assert wanted == 0 or sentiment * wanted > 0
            categories.add(category)
    assert categories == {headline.category for headline in UNIVERSE.headlines}
