// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// StatusPage is where the collector tells of itself.
const StatusPage = "http://127.0.0.1:13134"

// Status is what tests read of the collector's status page.
type Status struct {
	Mode struct {
		Effective string `json:"effective"`
	} `json:"mode"`
	Problem string `json:"problem"`
	Level   int    `json:"level"`
	// Episode is absent when none is open.
	Episode *struct {
		ID string `json:"id"`
	} `json:"episode"`
	Leases []struct {
		Path string `json:"path"`
	} `json:"leases"`
	Input struct {
		Sequence uint64 `json:"sequence"`
		Judge    string `json:"judge"`
	} `json:"input"`
	// Judgement is absent before the first sample, its numbers are null where
	// they are not finite.
	Judgement *struct {
		Distance      *float64 `json:"distance"`
		Limit         *float64 `json:"limit"`
		Score         *float64 `json:"score"`
		Contributions []struct {
			Dimension string   `json:"dimension"`
			Share     *float64 `json:"share"`
		} `json:"contributions"`
	} `json:"judgement"`
	Missing []struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
	} `json:"missing"`
}

// Ready is nil when Reflex samples, judges and can act, else says what it waits
// for.
func (s *Status) Ready() error {
	switch {
	case s.Mode.Effective != "enforce":
		return fmt.Errorf("the collector is in mode %q%s", s.Mode.Effective, s.missing())
	case s.Input.Sequence == 0:
		return fmt.Errorf("no sample has arrived%s", s.missing())
	case s.Input.Judge == "":
		return fmt.Errorf("nobody judges the samples%s", s.missing())
	}
	return nil
}

// missing adds what the status page says is missing.
func (s *Status) missing() string {
	var names []string
	for _, m := range s.Missing {
		names = append(names, m.Name+" ("+m.Cause+")")
	}
	if s.Problem != "" {
		names = append(names, s.Problem)
	}
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, "; ")
}

// Score returns distance and limit, where there are both.
func (s *Status) Score() (distance, limit float64, ok bool) {
	j := s.Judgement
	if j == nil || j.Distance == nil || j.Limit == nil {
		return 0, 0, false
	}
	return *j.Distance, *j.Limit, true
}

// Unusual names what is most unusual about the node, with the score and its limit.
func (s *Status) Unusual() string {
	j := s.Judgement
	if j == nil || j.Score == nil || j.Limit == nil {
		return "no judgement"
	}
	parts := []string{fmt.Sprintf("score %.3g, limit %.3g", *j.Score, *j.Limit)}
	for i, c := range j.Contributions {
		if i < 3 && c.Share != nil {
			parts = append(parts, fmt.Sprintf("%s %.3g", c.Dimension, *c.Share))
		}
	}
	return strings.Join(parts, ", ")
}

// ReadStatus asks the collector's status page.
func ReadStatus(ctx context.Context) (*Status, error) {
	var s Status
	if err := ReadPage(ctx, "/status", &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ReadPage reads the JSON at path of the status page into v.
func ReadPage(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, StatusPage+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status page: %s", response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	return nil
}
