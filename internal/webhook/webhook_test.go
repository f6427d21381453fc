// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// received is one request.
type received struct {
	path   string
	header http.Header
	body   []byte
}

// receiver is a target that answers as it is told to, with 200 at last.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	got     []received
}

func newReceiver(t *testing.T, answers ...func(http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{answers: answers}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{req.URL.Path, req.Header, body})
		if n := len(r.got); n <= len(r.answers) {
			r.answers[n-1](w)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func code(n int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(n) }
}

// tally counts what became of messages.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) of(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[result]
}

// newHook returns a hook on a target that retries fast.
func newHook(t *testing.T, target string, j *episode.Journal, change func(*Settings)) (*Hook, *tally) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	counts := &tally{n: map[string]int{}}
	s := Settings{
		URL: u, Format: JSON, Secret: []byte("quiet"), MinLevel: 2, Timeout: time.Second, Retries: 3, FirstRetry: time.Millisecond,
		Host: "node7", Version: "1.2.3", Now: func() time.Time { return noon }, Logger: zaptest.NewLogger(t),
		Count: func(result string, n int) {
			counts.mu.Lock()
			defer counts.mu.Unlock()
			counts.n[result] += n
		},
	}
	if change != nil {
		change(&s)
	}
	return New(s, j, "hook"), counts
}

// run lets a hook run until the test ends.
func run(t *testing.T, h *Hook) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 10*time.Second, time.Millisecond, what)
}

// tell appends an episode: noticed only, or contained and over.
func tell(j *episode.Journal, id byte, contained bool) {
	of := episode.ID{id}
	j.Append(episode.Record{Kind: episode.Opened, Time: noon.Add(-time.Minute), Episode: of, Level: 1, Reason: "score 60 above limit 5"})
	if contained {
		at := episode.Cgroup{ID: 7, Path: "/payment.service"}
		j.Append(episode.Record{Kind: episode.LevelChanged, Time: noon.Add(-59 * time.Second), Episode: of, Level: 2, Previous: 1, Cgroup: at, Reason: "it grows"})
		order := arc.Order{Cgroup: 7, Action: arc.ActionMemoryHigh, Generation: 1, Reason: "grows 50 MB/s"}
		for _, v := range []arc.Verdict{arc.VerdictGranted, arc.VerdictHeld, arc.VerdictHeld} {
			j.Append(episode.Record{
				Kind: episode.Action, Time: noon.Add(-58 * time.Second), Episode: of, Level: 2, Previous: 2, Cgroup: at,
				Order: &order, Outcome: &arc.Outcome{Verdict: v, Original: arc.Unlimited, Value: 1 << 30},
			})
		}
	}
}

func closeEpisode(j *episode.Journal, id byte) {
	j.Append(episode.Record{Kind: episode.Closed, Time: noon.Add(-time.Second), Episode: episode.ID{id}, Previous: 1, Reason: "30 s below the limit"})
}

func TestAnEpisodeIsToldAsSignedJSON(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t)
	h, counts := newHook(t, r.URL+"/in?x=1", j, func(s *Settings) { s.Header = http.Header{"Authorization": {"Bearer b"}} })
	run(t, h)
	tell(j, 1, false) // only watched
	closeEpisode(j, 1)
	tell(j, 2, true)
	closeEpisode(j, 2)
	// The opening, the level, the grant, the end: when read at once. A renewal is no news.
	eventually(t, "all of it", func() bool {
		return counts.of(Delivered) >= 3 && counts.of(Delivered) == len(r.all()) && strings.Contains(string(r.all()[len(r.all())-1].body), `"closed"`)
	})
	for _, got := range r.all() {
		assert.Equal(t, "/in", got.path)
		assert.Equal(t, "Bearer b", got.header.Get("Authorization"))
		assert.Equal(t, Sign([]byte("quiet"), got.header.Get(HeaderTimestamp), got.body), got.header.Get(HeaderSignature))
		assert.NotEqual(t, Sign([]byte("other"), got.header.Get(HeaderTimestamp), got.body), got.header.Get(HeaderSignature))
		var m struct {
			ID, Host, Event string
			Record          struct{ Episode string }
			Explanation     []string
		}
		require.NoError(t, json.Unmarshal(got.body, &m))
		assert.Equal(t, "node7", m.Host)
		assert.True(t, strings.HasPrefix(m.Record.Episode, "02"), "the other did not reach the level")
		assert.Equal(t, m.ID, got.header.Get(HeaderDelivery))
		assert.NotEqual(t, "action.held", m.Event)
		assert.Contains(t, strings.Join(m.Explanation, "\n"), "/payment.service")
	}
	assert.Equal(t, Stats{Target: r.URL, Format: JSON, Delivered: uint64(len(r.all()))}, h.Stats(), "and no path, which may be a secret")
}

func TestAnAlertIsRaisedKeptAndResolved(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t)
	h, counts := newHook(t, r.URL, j, func(s *Settings) { s.Format = Alertmanager })
	run(t, h)
	tell(j, 1, false)
	tell(j, 2, true)
	alerts := func(got received) (out []alert) {
		require.Equal(t, "/api/v2/alerts", got.path)
		require.NoError(t, json.Unmarshal(got.body, &out))
		return out
	}
	eventually(t, "it is raised", func() bool { return counts.of(Delivered) > 0 })
	all := r.all()
	raised := alerts(all[len(all)-1])
	require.Len(t, raised, 1)
	assert.Equal(t, map[string]string{"alertname": "ReflexEpisode", "severity": "warning", "instance": "node7", "episode": episode.FormatID(episode.ID{2})}, raised[0].Labels)
	assert.Equal(t, noon.Add(-time.Minute), raised[0].StartsAt.UTC())
	assert.True(t, raised[0].EndsAt.After(noon.Add(2*resendEvery)), "it outlives a report that is lost")
	assert.Equal(t, "/payment.service", raised[0].Annotations["cgroups"])
	closeEpisode(j, 2)
	eventually(t, "it is resolved", func() bool {
		all := r.all()
		resolved := alerts(all[len(all)-1])[0]
		return resolved.EndsAt.Equal(noon.Add(-time.Second)) && assert.Equal(t, raised[0].Labels, resolved.Labels)
	})
}

func TestAnOpenAlertIsSentAgain(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t)
	h, _ := newHook(t, r.URL, j, func(s *Settings) { s.Format = Alertmanager })
	tell(j, 2, true)
	h.news(t.Context())
	h.resend(t.Context())
	assert.Len(t, r.all(), 2)
	closeEpisode(j, 2)
	h.news(t.Context())
	h.resend(t.Context())
	assert.Len(t, r.all(), 3, "what is resolved is not")
}

func TestAnAnswerDecidesWhetherItIsTriedAgain(t *testing.T) {
	later := func(w http.ResponseWriter) { w.Header().Set("Retry-After", "0"); w.WriteHeader(429) }
	away := func(w http.ResponseWriter) { w.Header().Set("Location", "http://169.254.169.254/"); w.WriteHeader(302) }
	for name, c := range map[string]struct {
		answers  []func(http.ResponseWriter)
		result   string
		attempts int
	}{
		"at once":            {nil, Delivered, 1},
		"at the last":        {[]func(http.ResponseWriter){code(500), later, code(503)}, Delivered, 4},
		"never":              {[]func(http.ResponseWriter){code(500), code(500), code(500), code(500)}, GaveUp, 4},
		"not acceptable":     {[]func(http.ResponseWriter){code(400)}, Refused, 1},
		"moved to elsewhere": {[]func(http.ResponseWriter){away}, Refused, 1},
	} {
		t.Run(name, func(t *testing.T) {
			j := episode.NewJournal(100)
			r := newReceiver(t, c.answers...)
			h, counts := newHook(t, r.URL, j, func(s *Settings) { s.Format = Alertmanager })
			tell(j, 2, true)
			h.news(t.Context())
			assert.Equal(t, 1, counts.of(c.result))
			assert.Len(t, r.all(), c.attempts)
			assert.Equal(t, c.result != Delivered, h.Stats().Trouble != "")
			assert.Equal(t, j.Stats().Newest, j.Marked("hook"), "and then it goes on")
		})
	}
}

func TestAWebhookThatIsNewIsNotToldOfLastWeek(t *testing.T) {
	old := episode.NewJournal(100)
	tell(old, 2, true)
	j := episode.NewJournal(100)
	j.Restore(old.Read(0, nil), old.Stats().Newest, nil)
	r := newReceiver(t)
	h, counts := newHook(t, r.URL, j, nil)
	assert.False(t, h.news(t.Context()))
	closeEpisode(j, 2) // by the collector that finds it open
	h.news(t.Context())
	assert.Equal(t, 1, counts.of(Delivered))
	assert.Zero(t, counts.of(Missed))
}

func TestAnAlertEndsAfterItBeganAndAfterItIsSent(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t, code(503), code(503))
	now := noon
	h, _ := newHook(t, r.URL, j, func(s *Settings) {
		s.Format = Alertmanager
		s.Now = func() time.Time { now = now.Add(time.Minute); return now } // each attempt is late
	})
	tell(j, 2, true)
	h.news(t.Context())
	var ends []time.Time
	for _, got := range r.all() {
		var a []alert
		require.NoError(t, json.Unmarshal(got.body, &a))
		ends = append(ends, a[0].EndsAt)
	}
	require.Len(t, ends, 3)
	assert.True(t, ends[0].Before(ends[1]) && ends[1].Before(ends[2]), "%v", ends)
	j.Append(episode.Record{Kind: episode.Closed, Time: noon.Add(-time.Hour), Episode: episode.ID{2}}) // the clock was set back
	h.news(t.Context())
	all := r.all()
	var a []alert
	require.NoError(t, json.Unmarshal(all[len(all)-1].body, &a))
	assert.False(t, a[0].EndsAt.Before(a[0].StartsAt))
}

// An answer may repeat what it was sent.
func TestAnAnswerIsNotRepeated(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t, func(w http.ResponseWriter) {
		w.WriteHeader(401)
		_, _ = io.WriteString(w, "invalid token: Bearer b-SECRET")
	})
	h, _ := newHook(t, r.URL, j, func(s *Settings) { s.Format = Alertmanager })
	tell(j, 2, true)
	h.news(t.Context())
	assert.Equal(t, "the answer is 401 Unauthorized", h.Stats().Trouble)
}

func TestWhoIsStartedAgainGoesOnWhereItWas(t *testing.T) {
	j := episode.NewJournal(100)
	r := newReceiver(t)
	first, _ := newHook(t, r.URL, j, nil)
	tell(j, 2, true)
	first.news(t.Context())
	n := len(r.all())
	require.Positive(t, n)
	second, counts := newHook(t, r.URL, j, nil)
	assert.False(t, second.news(t.Context()))
	closeEpisode(j, 2)
	second.news(t.Context())
	assert.Equal(t, 1, counts.of(Delivered))
}

// Whoever writes the journal does not notice a target that hangs; what it misses is
// counted.
func TestATargetThatHangsIsWaitedForByNobody(t *testing.T) {
	j := episode.NewJournal(8)
	hang := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter) { <-hang })
	h, counts := newHook(t, r.URL, j, func(s *Settings) { s.Retries, s.Timeout = 0, 50*time.Millisecond })
	tell(j, 2, true)
	stop := run(t, h)
	began := time.Now()
	for range 1000 {
		closeEpisode(j, 2)
	}
	assert.Less(t, time.Since(began), time.Second)
	eventually(t, "it is given up, and what was displaced counted", func() bool { return counts.of(GaveUp) > 0 && counts.of(Missed) > 0 })
	close(hang)
	stop()
}

func TestTargetsThatHandOutCredentialsAreRefused(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "::1": true, "2001:db8::1": true, "192.168.0.1": true,
		"169.254.169.254": false, "169.254.0.1": false, "fe80::1%eth0": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false,
		"64:ff9b::8.8.8.8": true, "100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "fd00:ec2::254": false, "fd20:ce::254": false,
		"fd00:ec2::23": false, "fd00:c1::a9fe:a9fe": false, "fd00:42::42": false, "2002:a9fe:a9fe::1": false, "2002:808:808::1": true,
		"64:ff9b:1:1::a9fe:a9fe": false, "::a9fe:a9fe": false, "::ffff:0:a9fe:a9fe": false,
		"0.0.0.0": false, "::": false, "224.0.0.1": false,
	} {
		err := CheckAddress(netip.MustParseAddr(address))
		assert.Equal(t, ok, err == nil, address)
	}
	for text, want := range map[string]string{
		"http://alertmanager:9093":                   "",
		"https://hooks.example/secret":               "",
		"http://169.254.169.254/latest":              "link-local",
		"http://[::ffff:a9fe:a9fe]/":                 "link-local",
		"http://metadata.google.internal/":           "link-local",
		"http://METADATA.google.internal.:80/":       "link-local",
		"ftp://x/":                                   "must begin with http",
		"http:///x":                                  "names no host",
		"http://user:pass@x/":                        "password",
		"http://x/%zz?token=secret":                  "is not a URL",
		"http://metadata.example/":                   "",
		"http://internal.example/?metadata.internal": "",
	} {
		_, err := ParseURL(text, false)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
		assert.NotContains(t, err.Error(), "secret")
	}
	_, err := ParseURL("http://169.254.169.254/latest", true)
	require.NoError(t, err, "unless allowed")
}

// What a name resolves to is known only when a connection is made: there it counts.
func TestAConnectionIsRefusedWhateverLedThere(t *testing.T) {
	j := episode.NewJournal(100)
	tell(j, 2, true)
	for _, target := range []string{"http://169.254.169.254:1/", "http://[fe80::1%25lo]:1/", "http://[::ffff:169.254.1.1]:1/"} {
		h, counts := newHook(t, target, j, nil)
		h.cursor = 0
		h.news(t.Context())
		assert.Positive(t, counts.of(Refused), target)
		assert.Contains(t, h.Stats().Trouble, "refused as a target", target)
	}
}
