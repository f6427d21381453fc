// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// The names of the events.
const (
	eventOpened       = "reflex.episode.opened"
	eventLevelChanged = "reflex.level.changed"
	eventPlanned      = "reflex.action.planned"
	eventApplied      = "reflex.action.applied"
	eventRefused      = "reflex.action.refused"
	eventReleased     = "reflex.action.released"
	eventLost         = "reflex.action.lost"
	eventFailed       = "reflex.action.failed"
	eventClosed       = "reflex.episode.closed"
	eventOperator     = "reflex.operator"
)

// logTeller tells each record as one log event.
type logTeller struct {
	scope   scope
	next    consumer.Logs
	report  *receiverhelper.ObsReport
	boot    func() time.Time
	records []episode.Record
	booted  time.Time // as it was when records were taken: sent again, they say the same
}

func (t *logTeller) take(records []episode.Record) { t.records, t.booted = records, t.boot() }

func (t *logTeller) forget() { t.records = nil }

func (t *logTeller) finish() {}

func (t *logTeller) need(done uint64) uint64 { return done }

func (t *logTeller) tell(ctx context.Context) error {
	if len(t.records) == 0 {
		return nil
	}
	logs := t.build()
	n := logs.LogRecordCount()
	ctx = t.report.StartLogsOp(ctx)
	err := t.next.ConsumeLogs(ctx, logs)
	t.report.EndLogsOp(ctx, "reflex", n, err)
	return err
}

func (t *logTeller) build() plog.Logs {
	logs := plog.NewLogs()
	events := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	t.scope.put(events.Scope())
	events.LogRecords().EnsureCapacity(len(t.records))
	for i := range t.records {
		putEvent(events.LogRecords().AppendEmpty(), &t.records[i], t.booted)
	}
	return logs
}

func putEvent(log plog.LogRecord, r *episode.Record, boot time.Time) {
	log.SetEventName(eventName(r))
	severity := severityOf(r)
	log.SetSeverityNumber(severity)
	log.SetSeverityText(strings.ToUpper(severity.String()))
	_, end := interval(r, boot)
	log.SetTimestamp(pcommon.NewTimestampFromTime(end))
	log.SetObservedTimestamp(pcommon.NewTimestampFromTime(r.Time))
	if r.Episode != (episode.ID{}) {
		log.SetTraceID(r.Episode)
		log.SetSpanID(spanOf(r))
	}
	putRecord(log.Attributes(), r)
}

func eventName(r *episode.Record) string {
	switch r.Kind {
	case episode.Opened:
		return eventOpened
	case episode.Closed:
		return eventClosed
	case episode.Operator:
		return eventOperator
	case episode.Action:
		return actionEvent(verdict(r))
	default:
		return eventLevelChanged
	}
}

func actionEvent(v arc.Verdict) string {
	switch v {
	case arc.VerdictObserved:
		return eventPlanned
	case arc.VerdictGranted, arc.VerdictHeld:
		return eventApplied
	case arc.VerdictReleased:
		return eventReleased
	case arc.VerdictRefused:
		return eventRefused
	case arc.VerdictLost:
		return eventLost
	default:
		return eventFailed
	}
}

func severityOf(r *episode.Record) plog.SeverityNumber {
	switch {
	case r.Kind == episode.LevelChanged && r.Level > r.Previous:
		return plog.SeverityNumberWarn
	case r.Kind != episode.Action:
		return plog.SeverityNumberInfo
	}
	switch verdict(r) {
	case arc.VerdictHeld:
		if r.Outcome.Cause != "" {
			return plog.SeverityNumberWarn // the lease is near its end
		}
		return plog.SeverityNumberDebug // a renewal: many and without news
	case arc.VerdictRefused, arc.VerdictLost:
		return plog.SeverityNumberWarn
	case arc.VerdictFailed, arc.VerdictNone:
		return plog.SeverityNumberError
	default:
		return plog.SeverityNumberInfo
	}
}
