// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/words"
)

const (
	// shownRecords and shownEpisodes are how many the page shows.
	shownRecords  = 25
	shownEpisodes = 20
	// observedSince is how far back the page tells what would have been done.
	observedSince = 24 * time.Hour
)

// sectionNames are the templates that make up the page, each in the element of this id.
var sectionNames = []string{"head", "about", "notice", "score", "judgement", "leases", "observed", "episodes", "webhooks", "missing", "events"}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"number":   words.Number,
	"seconds":  words.Seconds,
	"whole":    func(f float64) string { return (time.Duration(math.Round(f)) * time.Second).String() },
	"value":    words.Value,
	"quantity": words.Quantity,
	"minutes":  func(d time.Duration) string { return fmt.Sprintf("%.0f min", d.Minutes()) },
	"level":    episode.LevelName,
	"short":    func(id string) string { return id[:min(8, len(id))] },
}).ParseFS(files, "page/page.html"))

// view is what the templates show.
type view struct {
	Status   Status
	Ladder   []rungOfLadder
	Chart    *chart
	Bars     []bar
	Observed story.Observed
	// Observing says that something would have been done or is only observed.
	Observing bool
	Episodes  []telling
	Records   []episode.Record
}

// rungOfLadder is one level as the page shows it.
type rungOfLadder struct {
	Level   int
	Name    string
	Current bool
}

// levels is how many there are.
const levels = policy.LevelQuarantine + 1

// bar is one contribution and how long its bar is, in percent of the longest.
type bar struct {
	ContributionStatus
	Width float64
}

// telling is one episode in words.
type telling struct {
	*story.Story
	Open  bool
	Title string
	Prose story.Prose
}

// library keeps the episodes put together until the journal has more.
type library struct {
	mu      sync.Mutex
	newest  uint64
	began   bool
	stories []*story.Story
	records []episode.Record
}

// read returns the episodes, oldest first, and the records they are made of. Nobody
// may change them.
func (l *library) read(j *episode.Journal) ([]*story.Story, []episode.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if newest := j.Stats().Newest; !l.began || newest != l.newest {
		l.records = j.Read(0, nil)
		l.stories, l.newest, l.began = story.All(l.records), newest, true
	}
	return l.stories, l.records
}

// look gathers what the page shows.
func (p *page) look() view {
	now := p.r.wall()
	stories, records := p.r.library.read(p.r.journal)
	v := view{Status: p.r.status(), Chart: draw(p.r.history.read(), now), Observed: story.Observe(stories, records, now, observedSince)}
	v.Observing = v.Status.Mode.Effective == modeObserve || v.Observed.Times() > 0
	for level := range levels {
		v.Ladder = append(v.Ladder, rungOfLadder{level, episode.LevelName(level), level == v.Status.Level})
	}
	if j := v.Status.Judgement; j != nil {
		v.Bars = bars(j.Contributions)
	}
	for _, s := range slices.Backward(stories[max(0, len(stories)-shownEpisodes):]) {
		v.Episodes = append(v.Episodes, telling{s, s.Closed == nil, titleOf(s), s.Tell(now)})
	}
	v.Records = slices.Clone(records[max(0, len(records)-shownRecords):])
	slices.Reverse(v.Records)
	return v
}

func bars(of []ContributionStatus) []bar {
	longest := 0.0
	for _, c := range of {
		if c.Share != nil {
			longest = max(longest, math.Abs(*c.Share))
		}
	}
	out := make([]bar, 0, len(of))
	for _, c := range of {
		b := bar{ContributionStatus: c}
		if c.Share != nil && longest > 0 {
			b.Width = tenth(100 * math.Abs(*c.Share) / longest)
		}
		out = append(out, b)
	}
	return out
}

// titleOf names who an episode was about.
func titleOf(s *story.Story) string {
	var who []string
	for i := range s.Deeds {
		if at := s.Deeds[i].Where(); !slices.Contains(who, at) {
			who = append(who, at)
		}
	}
	if len(who) == 0 {
		return "nobody was touched"
	}
	return strings.Join(who, ", ")
}

// sections writes every section.
func (v *view) sections() (map[string]string, error) {
	out := make(map[string]string, len(sectionNames))
	var b bytes.Buffer
	for _, name := range sectionNames {
		b.Reset()
		if err := pageTemplate.ExecuteTemplate(&b, name, v); err != nil {
			return nil, err
		}
		out[name] = b.String()
	}
	return out, nil
}
