'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const left = 150, right = 12, above = 6, foot = 20, row = 20;
  const format = v => v === null || v === undefined ? '–' : Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(Number(v.toPrecision(4)));
  const pad = (n, w = 2) => String(n).padStart(w, '0');
  const clock = (seconds, step) => {
    const negative = seconds < 0 ? '-' : '';
    let rest = Math.abs(seconds);
    const whole = Math.floor(rest + 1e-9), days = Math.floor(whole / 86400);
    const fraction = step < 1 ? (rest - whole).toFixed(Math.min(3, Math.ceil(-Math.log10(step)))).slice(1) : '';
    const hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
    if (step >= 86400) return negative + days + ' d';
    const time = (hours || days ? hours + ':' + pad(minutes) : minutes) + ':' + pad(whole % 60) + fraction;
    return negative + (days ? days + ' d ' : '') + time;
  };
  const date = (ms, step) => {
    const text = new Date(ms).toISOString();
    return step >= 86400 ? text.slice(0, 10) : step >= 60 ? text.slice(5, 16).replace('T', ' ') : text.slice(11, step < 1 ? 23 : 19);
  };
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const steps = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000];
  const finite = values => values.filter(v => v !== null);

  function chart(box) {
    const s = data[Number(box.dataset.stream)];
    const canvases = [...box.querySelectorAll('canvas')];
    const readout = box.querySelector('.readout');
    const n = s.rows.length, span = n * s.width;
    let hovered = -1;

    const scales = {
      score: (() => {
        const seen = finite([...s.scoreLow, ...s.limitLow]).filter(v => v > 0);
        const limits = finite(s.limitHigh);
        const most = Math.max(1e-9, ...finite(s.scoreHigh), ...limits);
        const middle = limits.length ? limits.slice().sort((a, b) => a - b)[limits.length >> 1] : most;
        const log = most > 20 * middle;
        if (!log) return {low: 0, high: most * 1.06, at: v => v, ticks: () => round(0, most, 5)};
        const low = Math.max(middle / 100, Math.min(...seen, middle / 2));
        const high = most * 1.5;
        return {low: Math.log10(low), high: Math.log10(high), at: v => Math.log10(Math.max(v, low)), ticks: () => decades(low, high)};
      })(),
      trend: (() => {
        const values = finite([...s.velocityLow, ...s.velocityHigh, ...s.accelerationLow, ...s.accelerationHigh]).map(Math.abs).sort((a, b) => a - b);
        const most = Math.max(1e-9, values.length ? values[values.length - 1] : 1);
        const unit = Math.max(most / 1e4, values.length ? values[Math.floor(values.length * .9)] : 1, 1e-9);
        const at = v => Math.asinh(v / unit);
        const top = at(most) * 1.08;
        return {low: -top, high: top, at, ticks: () => {
          const power = 10 ** Math.floor(Math.log10(most));
          const mark = [5, 2, 1].map(m => Number((m * power).toPrecision(2))).find(v => v <= most) || most;
          return [-mark, 0, mark];
        }};
      })(),
    };
    function round(low, high, count) {
      const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map(m => m * power).find(v => v >= raw);
      const out = [];
      for (let v = Math.ceil(low / step) * step; v <= high; v += step) out.push(Number(v.toPrecision(6)));
      return out;
    }
    function decades(low, high) {
      const out = [];
      const skip = Math.max(1, Math.round(Math.log10(high / low) / 5));
      for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e += skip) out.push(10 ** e);
      return out;
    }

    function draw(canvas) {
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = Number(canvas.dataset.height || (canvas.dataset.height = canvas.height));
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      canvas.style.height = height + 'px';
      const c = canvas.getContext('2d');
      c.scale(ratio, ratio);
      c.font = '11px system-ui, sans-serif';
      const inner = width - left - right, bottom = height - foot;
      const x = k => left + k / n * inner;
      const spans = (flag, paint) => {
        for (let k = 0; k < n; k++) {
          if (!flag(k)) continue;
          let end = k + 1;
          while (end < n && flag(end)) end++;
          paint(x(k), Math.max(1.5, x(end) - x(k)));
          k = end;
        }
      };
      const panel = canvas.dataset.panel;
      c.fillStyle = colour('learning');
      spans(k => s.rows[k] > 0 && s.judged[k] * 2 < s.rows[k], (from, w) => c.fillRect(from, above, w, bottom - above));
      c.fillStyle = colour('anomalous');
      if (panel !== 'shares') spans(k => s.anomalous[k] > 0, (from, w) => c.fillRect(from, above, w, bottom - above));
      axis();
      if (panel === 'shares') heat();
      else {
        const scale = scales[panel];
        const y = v => bottom - (scale.at(v) - scale.low) / (scale.high - scale.low) * (bottom - above);
        c.textAlign = 'right';
        for (const v of scale.ticks()) {
          const at = y(v);
          c.strokeStyle = colour('grid');
          line(left, at, left + inner, at);
          c.fillStyle = colour('dim');
          c.fillText(format(v), left - 8, at + 4);
        }
        c.save();
        c.beginPath();
        c.rect(left, above, inner, bottom - above);
        c.clip();
        if (panel === 'score') {
          c.fillStyle = colour('label');
          spans(k => s.marked[k] > 0, (from, w) => c.fillRect(from, bottom - 5, w, 5));
          range(s.scoreLow, s.scoreHigh, 'score', y);
          c.setLineDash([5, 3]);
          range(s.limitLow, s.limitHigh, 'limit', y, true);
          c.setLineDash([]);
        } else {
          range(s.accelerationLow, s.accelerationHigh, 'acceleration', y);
          range(s.velocityLow, s.velocityHigh, 'velocity', y);
        }
        c.restore();
      }
      if (hovered >= 0) {
        c.strokeStyle = colour('ink');
        c.globalAlpha = .55;
        line(x(hovered + .5), above, x(hovered + .5), bottom);
        c.globalAlpha = 1;
      }

      function line(x1, y1, x2, y2) {
        c.lineWidth = 1;
        c.beginPath();
        c.moveTo(Math.round(x1) + .5, Math.round(y1) + .5);
        c.lineTo(Math.round(x2) + .5, Math.round(y2) + .5);
        c.stroke();
      }
      function range(low, high, name, y, thick) {
        c.strokeStyle = colour(name);
        c.lineWidth = thick ? 1.6 : 1.1;
        c.lineJoin = 'round';
        c.beginPath();
        let pen = false;
        for (let k = 0; k < n; k++) {
          if (low[k] === null) {
            if (s.rows[k] > 0) pen = false;
            continue;
          }
          const at = x(k + .5), a = y(low[k]), b = y(high[k]);
          if (pen) c.lineTo(at, a); else c.moveTo(at, a);
          if (b !== a) c.lineTo(at, b); else if (!pen) c.lineTo(at + .1, b);
          pen = true;
        }
        c.stroke();
      }
      function axis() {
        const step = steps.find(v => span / v <= Math.max(3, inner / 95)) || steps[steps.length - 1];
        c.textAlign = 'center';
        const origin = s.wall === null ? 0 : s.wall / 1000;
        for (let v = Math.ceil(origin / step - 1e-9) * step; v <= origin + span; v += step) {
          const at = left + (v - origin) / span * inner;
          c.strokeStyle = colour('grid');
          line(at, above, at, bottom + 4);
          c.fillStyle = colour('dim');
          c.fillText(s.wall === null ? clock(v, step) : date(v * 1000, step), Math.min(at, width - 34), bottom + 16);
        }
      }
      function heat() {
        s.shares.forEach((d, i) => {
          const top = above + i * row;
          c.textAlign = 'right';
          c.fillStyle = colour('ink');
          let name = d.name;
          while (name.length > 4 && c.measureText(name).width > left - 12) name = '…' + name.slice(2).replace(/^[._]+/, '');
          c.fillText(name, left - 8, top + row / 2 + 4);
          const heat = colour('heat');
          for (let k = 0; k < n; k++) {
            const v = d.most[k];
            if (v === null || v <= 0) continue;
            /* what alone would reach the limit is painted whole */
            const part = Math.min(1, v / Math.max(1, s.limitHigh[k] ** 2)) ** .7;
            if (part < .02) continue;
            c.fillStyle = `rgba(${heat},${part.toFixed(3)})`;
            c.fillRect(x(k), top + 1, Math.max(1, x(k + 1) - x(k) + .4), row - 2);
          }
        });
      }
    }

    const all = () => canvases.forEach(draw);
    const between = (low, high) => low === null ? '–' : low === high ? format(low) : format(low) + ' … ' + format(high);
    const cell = (a, b) => {
      const tr = document.createElement('tr');
      for (const text of [a, b]) tr.appendChild(document.createElement('td')).textContent = text;
      return tr;
    };
    function hover(event) {
      const canvas = event.currentTarget;
      const inner = canvas.clientWidth - left - right;
      const k = Math.floor((event.offsetX - left) / inner * n);
      if (k < 0 || k >= n) return leave();
      hovered = k;
      all();
      const at = k * s.width;
      const when = document.createElement('b');
      when.textContent = s.wall === null ? clock(at, s.width) : new Date(s.wall + at * 1000).toISOString().replace('T', ' ').slice(0, s.width < 1 ? 23 : 19) + ' UTC';
      const table = document.createElement('table');
      const state = s.rows[k] === 0 ? 'no rows' : s.rows[k] + (s.rows[k] === 1 ? ' row' : ' rows') + (s.anomalous[k] ? ', ' + s.anomalous[k] + ' anomalous' : '') + (s.marked[k] ? ', labelled' : '');
      table.append(cell('score', between(s.scoreLow[k], s.scoreHigh[k])), cell('limit', between(s.limitLow[k], s.limitHigh[k])),
        cell('velocity', between(s.velocityLow[k], s.velocityHigh[k])), cell('acceleration', between(s.accelerationLow[k], s.accelerationHigh[k])), cell('regime', format(s.regime[k])));
      s.shares.map(d => [d.name, d.most[k]]).filter(d => d[1] > 0).sort((a, b) => b[1] - a[1]).slice(0, 5).forEach(d => table.append(cell(d[0], format(d[1]))));
      readout.replaceChildren(when, document.createTextNode(' ' + state), table);
      readout.hidden = false;
      const right_ = event.offsetX > canvas.clientWidth / 2;
      readout.style.left = right_ ? 'auto' : event.offsetX + 18 + 'px';
      readout.style.right = right_ ? canvas.clientWidth - event.offsetX + 18 + 'px' : 'auto';
      readout.style.top = canvas.offsetTop + 16 + 'px';
    }
    function leave() {
      hovered = -1;
      readout.hidden = true;
      all();
    }
    for (const canvas of canvases) {
      canvas.addEventListener('pointermove', hover);
      canvas.addEventListener('pointerleave', leave);
    }
    all();
    return all;
  }

  const charts = [...document.querySelectorAll('.charts')].map(chart);
  const redraw = () => charts.forEach(draw => draw());
  window.addEventListener('resize', redraw);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
})();
