// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"strings"
)

// status is what the scenario reads of the collector's status page.
type status struct {
	Mode struct {
		Effective string `json:"effective"`
	} `json:"mode"`
	Problem string `json:"problem"`
	Level   int    `json:"level"`
	Input   struct {
		Sequence uint64 `json:"sequence"`
		Judge    string `json:"judge"`
	} `json:"input"`
	// Judgement is absent before the first sample, its numbers are null where
	// they are not finite.
	Judgement *struct {
		Distance *float64 `json:"distance"`
		Limit    *float64 `json:"limit"`
	} `json:"judgement"`
	Missing []struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
	} `json:"missing"`
}

// ready is nil when Reflex samples, judges and can act, else says what it waits
// for.
func (s *status) ready() error {
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
func (s *status) missing() string {
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

// score returns distance and limit, where there are both.
func (s *status) score() (distance, limit float64, ok bool) {
	j := s.Judgement
	if j == nil || j.Distance == nil || j.Limit == nil {
		return 0, 0, false
	}
	return *j.Distance, *j.Limit, true
}
