// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
)

// The headers of a JSON message. The signature is "sha256=" and, in hexadecimal, the HMAC
// (RFC 2104) with the secret of the timestamp, a full stop and the body.
const (
	HeaderSignature = "X-Reflex-Signature"
	HeaderTimestamp = "X-Reflex-Timestamp"
	HeaderDelivery  = "X-Reflex-Delivery"
)

// Sign returns the value of [HeaderSignature].
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp))
	mac.Write([]byte("."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// message is one record as JSON. Its keys are an interface.
type message struct {
	// ID is the same each time the message is sent.
	ID   string `json:"id"`
	Host string `json:"host"`
	// Event is the record's kind, for actions with the verdict: "action.granted".
	Event string `json:"event"`
	// Record is as /journal serves it.
	Record episode.Record `json:"record"`
	// Explanation tells the episode so far.
	Explanation []string `json:"explanation"`
}

func (h *Hook) message(r *episode.Record, s *story.Story) ([]byte, string, error) {
	event := r.Kind.String()
	if r.Kind == episode.Action && r.Outcome != nil {
		event += "." + r.Outcome.Verdict.String()
	}
	m := message{
		ID: r.Name(), Host: h.settings.Host, Event: event, Record: *r, Explanation: lines(s.Tell(h.settings.Now())),
	}
	body, err := json.Marshal(m)
	return body, m.ID, err
}

// lines writes prose as lines.
func lines(p story.Prose) []string {
	var out []string
	for _, paragraph := range p {
		out = append(out, paragraph.Text)
		for _, item := range paragraph.Items {
			out = append(out, "- "+item)
		}
	}
	return out
}

// alert is one of Alertmanager's v2 API: api/v2/openapi.yaml, postableAlert.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alert tells an episode. Its labels say which it is, and stay the same: what changes is
// in the annotations. An open one ends by itself unless it is sent again.
func (h *Hook) alert(s *story.Story, now time.Time) alert {
	a := alert{
		Labels: map[string]string{"alertname": "ReflexEpisode", "severity": "warning", "instance": h.settings.Host, "episode": s.ID},
		Annotations: map[string]string{
			"summary":     fmt.Sprintf("Reflex on %s: level %d, %s", h.settings.Host, s.Highest, episode.LevelName(s.Highest)),
			"description": strings.Join(lines(s.Tell(now)), "\n"),
			"level":       strconv.Itoa(s.Highest),
			"cgroups":     strings.Join(culprits(s), ", "),
		},
		StartsAt: s.Opened, EndsAt: now.Add(4 * resendEvery), GeneratorURL: h.settings.Page,
	}
	if s.Closed != nil {
		a.EndsAt = *s.Closed
	}
	if a.EndsAt.Before(a.StartsAt) { // the clock was set back
		a.EndsAt = a.StartsAt
	}
	return a
}

func culprits(s *story.Story) []string {
	var out []string
	seen := map[string]bool{}
	for i := range s.Deeds {
		if at := s.Deeds[i].Where(); !seen[at] {
			seen[at] = true
			out = append(out, at)
		}
	}
	return out
}
