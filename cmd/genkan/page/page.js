// Loads the page again every few seconds, while it is looked at.
"use strict";
async function again() {
	if (!document.hidden) {
		try {
			const answer = await fetch("/", { cache: "no-store" });
			const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
			if (answer.ok && next) {
				document.getElementById("page").replaceWith(next);
				document.body.dataset.live = String(Number(document.body.dataset.live || 0) + 1);
			}
		} catch {
			// It restarts, or is gone: what was seen last stays, with its time.
		}
	}
	setTimeout(again, 3000);
}
setTimeout(again, 3000);
