// News: what broke, about whom, and how far it moves the price.

import { $, make } from "./dom.js";
import { direction, moment, percent } from "./format.js";

const KEPT = 60;
const BRIEF = 30; // beside a chart; all are marked in it

export function line(story, choose) {
  const moves = Math.abs(story.move_percent) >= 0.001;
  const effect = make("span", { class: "effect", data: { direction: moves ? direction(Math.sign(story.move_percent)) : "none" } },
    moves ? percent(story.move_percent) : "no effect");
  const what = make("button", { type: "button", class: "headline", data: { subject: story.symbol } }, story.news_item);
  what.addEventListener("click", () => choose(story.symbol));
  const time = make("time", { dateTime: new Date(story.time_ms).toISOString() }, moment(story.time_ms));
  return make("li", { data: { story: story.story_id, moves: String(moves) } },
    time, make("b", { class: "subject" }, story.symbol), what, effect);
}

export class News {
  constructor(choose) {
    this.choose = choose;
    this.list = $("news");
    this.told = new Set();
    $("news-moving").addEventListener("change", ({ target }) => {
      this.list.dataset.moving = String(target.checked);
    });
  }

  begin(stories) {
    this.told.clear();
    this.list.replaceChildren();
    stories.forEach((story) => this.add(story));
  }

  tick(stories) {
    for (const story of stories) this.add(story, true);
  }

  add(story, fresh = false) {
    if (this.told.has(story.story_id)) return;
    this.told.add(story.story_id);
    const item = line(story, this.choose);
    if (fresh) item.classList.add("fresh");
    this.list.prepend(item);
    while (this.list.children.length > KEPT) {
      this.told.delete(Number(this.list.lastChild.dataset.story));
      this.list.lastChild.remove();
    }
  }
}

export function showBrief(list, stories, choose) {
  const shown = stories.slice(-BRIEF).reverse();
  const text = shown.map(({ story_id: id }) => id).join();
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...shown.map((story) => line(story, choose)));
  if (!shown.length) list.append(make("li", { class: "empty" }, "No news about it in this time."));
}
