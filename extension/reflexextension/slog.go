// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogger gives the guard, which logs by log/slog, the collector's logger.
func slogger(to *zap.Logger) *slog.Logger { return slog.New(bridge{to: to}) }

type bridge struct {
	to     *zap.Logger
	prefix string
}

func level(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	case l >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}

func (b bridge) Enabled(_ context.Context, l slog.Level) bool { return b.to.Core().Enabled(level(l)) }

func (b bridge) Handle(_ context.Context, rec slog.Record) error {
	fields := make([]zap.Field, 0, rec.NumAttrs())
	rec.Attrs(func(a slog.Attr) bool {
		fields = append(fields, b.field(a))
		return true
	})
	b.to.Log(level(rec.Level), rec.Message, fields...)
	return nil
}

func (b bridge) field(a slog.Attr) zap.Field {
	return zap.Any(b.prefix+a.Key, a.Value.Resolve().Any())
}

func (b bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make([]zap.Field, 0, len(attrs))
	for _, a := range attrs {
		fields = append(fields, b.field(a))
	}
	return bridge{to: b.to.With(fields...), prefix: b.prefix}
}

func (b bridge) WithGroup(name string) slog.Handler {
	return bridge{to: b.to, prefix: b.prefix + name + "."}
}
