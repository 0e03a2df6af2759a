"""The page's own CSS and script, inlined into every report. Without the script, all is shown at once."""

from __future__ import annotations

__all__ = ["CSS", "SCRIPT"]

CSS = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f8;--ink:#1b1d21;--dim:#5c626b;--line:#d8dade;
--warn:#8a5a00;
--mark:#eef3fb}
@media (prefers-color-scheme:dark){:root{--back:#15171b;--card:#1d2025;--ink:#e7e9ec;--dim:#a0a7b1;
--line:#3a3f47;
--warn:#f0b849;--mark:#222c3c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:20px 16px 48px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:.2em 0;overflow-wrap:anywhere}h2{font-size:1.15rem;
margin:2em 0 .5em}
h3{font-size:1rem;margin:1.2em 0 .3em;display:flex;align-items:center;gap:8px;overflow-wrap:anywhere}
p{margin:.4em 0}.dim,.captions{color:var(--dim)}.captions{font-size:.87rem}
.verdict{font-size:1.08rem;max-width:75ch;overflow-wrap:anywhere}
.caution{border-left:3px solid var(--warn);padding:2px 12px;margin:12px 0;overflow-wrap:anywhere}
.swatch{flex:none;display:inline-block;width:11px;height:11px;border-radius:50%}
.bar{display:flex;flex-wrap:wrap;gap:6px;margin:14px 0}
html:not(.live) .bar,.live .after,.bar:empty,.dim:empty{display:none}
button{font:inherit;font-size:.87rem;color:inherit;background:var(--card);border:1px solid var(--line);
border-radius:99px;padding:4px 12px;min-height:34px;display:flex;align-items:center;gap:7px;cursor:pointer}
button[aria-pressed=false]{opacity:.5}button[aria-pressed=false] .name{text-decoration:line-through}
.rounds button[aria-pressed=false]{opacity:1}.rounds button[aria-pressed=true]{background:var(--ink);
color:var(--back)}
button:focus-visible,summary:focus-visible{outline:2px solid #0072b2;outline-offset:2px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,370px),1fr));gap:16px}
.figure{background:var(--card);border-radius:10px;padding:10px;min-width:0;max-width:620px}
.figure svg{display:block;width:100%;height:auto;color:var(--ink)}
.figure svg *{stroke-linejoin:round;stroke-linecap:butt}
svg .target{fill:transparent;stroke:none;cursor:default}svg .target:hover{stroke:var(--ink);stroke-width:1}
.tables{display:flex;flex-wrap:wrap;gap:8px 48px}.tables>*{max-width:100%}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.93rem}
caption{text-align:left;font-weight:600;padding:6px 0}
th,td{padding:5px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{padding-left:2px}table:not(.facts) tr>th:first-child{position:sticky;left:0;
background:var(--back)}thead th{font-weight:600;vertical-align:bottom}
.lead{font-weight:700;background:var(--mark)}.sd{color:var(--dim);font-weight:400}
.facts th,.facts td{text-align:left;white-space:normal;overflow-wrap:break-word;max-width:60ch;vertical-align:top}
.counts td:not(:last-child),.counts th:not(:last-child){text-align:left;white-space:normal;max-width:24ch;
overflow-wrap:break-word}
.facts th{font-weight:400;color:var(--dim);white-space:nowrap}
.strip{display:flex;flex-wrap:wrap;gap:8px 6px;margin:2px 0 8px}
.strip-name{margin:6px 0 0;font-size:.87rem;color:var(--dim)}
.shot{margin:0;width:112px;font-size:.75rem;line-height:1.3;text-align:center}
.shot img,.shot .blank{display:block;width:112px;height:112px;object-fit:contain;background:var(--card);
border-radius:5px}
.shot .blank{color:var(--dim);display:grid;place-items:center}.shot img.tiny{image-rendering:pixelated}
.shot b,.shot span{display:block;overflow-wrap:break-word}.shot span{color:var(--dim)}
.shot .id{direction:rtl;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}/* of a path the end is what tells */
.zoom{display:block;position:relative;cursor:zoom-in}
.zoom input{position:absolute;inset:0;margin:0;opacity:0;cursor:inherit}
.zoom input:focus-visible+img{outline:2px solid #0072b2;outline-offset:2px}
.zoom input:checked+img{position:fixed;inset:0;z-index:8;width:100vw!important;max-width:none;height:100vh!important;
aspect-ratio:auto!important;padding:16px;border-radius:0;background:#000c;cursor:zoom-out}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,280px),1fr));gap:12px}
.pairs .shot,.pairs .shot img,.pairs .shot .blank{width:100%}.pairs .shot{max-width:324px}
.pairs .shot img{height:auto}
.pairs figcaption{display:flex;flex-wrap:wrap;justify-content:center;gap:0 .8em}
details{margin:10px 0}summary{cursor:pointer;font-weight:600}
.off{display:none!important}
#tip{position:fixed;pointer-events:none;background:var(--ink);color:var(--back);border-radius:6px;
padding:4px 9px;
font-size:.84rem;max-width:min(300px,90vw);z-index:9}
@media (max-width:520px){table{font-size:.84rem}body{padding:12px 10px 40px}th,td{padding:5px 6px}
th .swatch{display:none}.figure{padding:6px}
.sd{display:block;font-size:.85em}
.strip:not(.pairs)>.shot{width:calc(33.33% - 4px)}
.strip:not(.pairs) :is(img,.blank){width:100%;height:auto;aspect-ratio:1}}
@media print{.bar{display:none}}
"""

SCRIPT = """
'use strict';
document.documentElement.classList.add('live');
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
const press = (button, pressed) => button.setAttribute('aria-pressed', String(pressed));
const hidden = new Set();
function showStrategies() {
  each('[data-strategy]', part => part.classList.toggle('off', hidden.has(part.dataset.strategy)));
  each('[data-toggle]', button => press(button, !hidden.has(button.dataset.toggle)));
}
function showRound(round) {
  each('[data-round]', part => part.classList.toggle('off', part.dataset.round !== round));
  each('[data-show]', button => press(button, button.dataset.show === round));
}
document.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (button && button.dataset.toggle !== undefined) {
    const name = button.dataset.toggle;
    if (!hidden.delete(name)) hidden.add(name);
    showStrategies();
  }
  if (button && button.dataset.show !== undefined) showRound(button.dataset.show);
});
const rounds = document.querySelectorAll('[data-show]');
if (rounds.length) showRound(rounds[rounds.length - 1].dataset.show);
const tip = document.getElementById('tip');
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') each('.zoom input', box => { box.checked = false; });
});
document.addEventListener('pointerover', event => {
  const target = event.target.closest('[data-tip]');
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  tip.style.left = Math.max(6, Math.min(box.left, innerWidth - tip.offsetWidth - 6)) + 'px';
  tip.style.top = Math.max(6, box.top - tip.offsetHeight - 6) + 'px';
});
"""
