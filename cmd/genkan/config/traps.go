package config

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// explain says in the operator's words what is wrong with the form of a line, and what to write. start is where
// the expression begins, wrong where the parser stopped, msg the parser's own words. It returns the place to show.
func (p *parser) explain(start, wrong int, msg string) (int, string) {
	line := p.line(start)
	switch {
	case strings.HasPrefix(line, "---"):
		return start, `"---" is YAML; this file is TOML: write key = "value" lines under [table] headers`
	case strings.HasPrefix(line, "- "):
		return start, `"- item" is YAML; write the list behind its key: key = ["item", "item"]`
	case strings.HasPrefix(line, "["):
		return p.explainHeader(start, wrong, line)
	}
	if strings.HasPrefix(msg, "invalid UTF-8") {
		return wrong, "this is not UTF-8; save the file as UTF-8"
	}
	if offset, ok := p.openString(start, wrong); ok {
		return offset, "the string that begins here is not closed on its line; write the missing quote"
	}
	key, rest, ok := strings.Cut(line, "=")
	key = strings.TrimSpace(key)
	if !ok || !isKey(key) {
		return p.explainKey(start, line)
	}
	return p.explainValue(start, wrong, key, strings.TrimSpace(rest), msg)
}

// explainHeader is explain for a line that begins with a bracket.
func (p *parser) explainHeader(start, wrong int, line string) (int, string) {
	inside := strings.Trim(strings.SplitN(line, "#", 2)[0], "[] \t")
	first, name, dotted := strings.Cut(inside, ".")
	first = strings.TrimSpace(first)
	if !dotted && strings.ContainsAny(first, ` "'`) {
		if f, n, ok := strings.Cut(first, " "); ok {
			first, name, dotted = f, n, true
		}
	}
	name = strings.Trim(strings.TrimSpace(name), `"'“”[]`)
	if dotted && isKey(first) && name != "" {
		why := "this header cannot be read"
		if !strings.Contains(line, "]") {
			why = "this header is not closed"
		}
		return start, why + "; write [" + first + "." + writeKey([]string{name}) + "]"
	}
	if !strings.Contains(line, "]") {
		return start, "this header is not closed; write ] at its end"
	}
	return wrong, `this header cannot be read; write [table] or [table."name"], and nothing behind it`
}

// explainKey is explain for a line that has no key in front of a "=".
func (p *parser) explainKey(start int, line string) (int, string) {
	key, rest, ok := strings.Cut(line, ":")
	key = strings.TrimSpace(key)
	if rest = strings.TrimSpace(rest); ok && isKey(key) {
		if rest == "" {
			return start, strconv.Quote(cut(line)) + " is YAML; write the header [" + key + "], or " + key + " = and a value"
		}
		if strings.HasPrefix(key, `"`) {
			return start, cut(line) + " is JSON; write " + strings.Trim(key, `"`) + " = " + quoted(strings.TrimSuffix(rest, ","))
		}
		return start, strconv.Quote(cut(line)) + " is YAML; write " + key + " = " + quoted(rest)
	}
	if strings.HasSuffix(line, "{") {
		return start, `blocks in braces are not TOML; write a header [table."name"], then one key = "value" a line`
	}
	if first, rest, ok := strings.Cut(line, " "); ok && isKey(first) && strings.HasSuffix(line, ";") {
		return start, "a line here is key = value; write " + first + " = " + quoted(strings.TrimSpace(strings.TrimSuffix(rest, ";")))
	}
	if first, rest, ok := strings.Cut(line, " "); ok && isKey(first) && strings.IndexAny(strings.TrimSpace(rest), `"'[0123456789`) == 0 {
		return start, "a = is missing; write " + first + " = " + strings.TrimSpace(cut(rest))
	}
	return start, "this line is neither a [header] nor key = value; write key = \"value\", or # in front of a remark"
}

// explainValue is explain for `key = …` whose value cannot be read.
func (p *parser) explainValue(start, wrong int, key, rest, msg string) (int, string) {
	if rest == "" || rest[0] == '#' {
		return start, key + " has no value; write one behind the ="
	}
	value := start + bytes.IndexByte(p.src[start:], '=') + 1
	value += len(p.src[value:]) - len(bytes.TrimLeft(p.src[value:], " \t"))
	word := strings.TrimSpace(strings.SplitN(rest, "#", 2)[0])
	switch strings.ToLower(word) {
	case "true", "yes", "on":
		return value, cut(word) + " is no TOML; write " + key + " = true"
	case "false", "no", "off":
		return value, cut(word) + " is no TOML; write " + key + " = false"
	}
	if strings.Contains(msg, "leading zero") {
		return value, "a number does not begin with 0; write " + key + " = " + cut(strings.TrimLeft(word, "0"))
	}
	if i := strings.IndexAny(rest, "“”„‘’"); i >= 0 {
		return value + i, "these are the quotes of a word processor; write straight ones: \""
	}
	switch rest[0] {
	case '"', '\'':
		if strings.Contains(msg, "escape") || strings.Contains(msg, `\`) {
			return wrong, `a backslash begins an escape in "…"; write two of them, or '…' around the text`
		}
		return wrong, "something stands behind the string; write one value, or a list: " + key + ` = ["…", "…"]`
	case '[':
		return p.explainList(value, wrong, key, msg)
	case '{':
		return wrong, "this { } cannot be read (" + msg + "); write { key = \"value\", key = \"value\" } on one line"
	}
	if strings.Contains(word, ",") {
		items := strings.Split(word, ",")
		for i := range items {
			items[i] = quoted(strings.TrimSpace(items[i]))
		}
		return value, "a list stands in brackets, its texts in quotes; write " + key + " = [" + cut(strings.Join(items, ", ")) + "]"
	}
	return value, "text stands in quotes; write " + key + " = " + quoted(word)
}

// explainList is explainValue for a list.
func (p *parser) explainList(value, wrong int, key, msg string) (int, string) {
	switch {
	case strings.HasPrefix(msg, "expected ','"):
		if !p.sameExpression(value, wrong) {
			break
		}
		return wrong, "a comma is missing in the list in front of this; write [\"…\", \"…\"]"
	case strings.HasPrefix(msg, "expected newline"):
		return wrong, "something stands behind the list; write one value a key"
	case p.sameExpression(value, wrong) && !strings.Contains(msg, "incomplete"):
		return wrong, "text in a list stands in quotes, with commas between; write " + key + ` = ["…", "…"]`
	}
	return value, "the list that begins here is not closed; write ] at its end"
}

// sameExpression reports whether the line of an offset still belongs to the list that begins at value.
func (p *parser) sameExpression(value, wrong int) bool {
	return p.at(value).Line == p.at(wrong).Line || !looksLikeExpression(p.line(wrong))
}

// openString finds a quote that opens a string and is not closed on its line, from the line of wrong.
func (p *parser) openString(start, wrong int) (int, bool) {
	begin := max(start, p.lines[p.at(min(wrong, len(p.src)-1)).Line-1])
	if wrong < len(p.src) && p.src[wrong] == '\n' {
		begin = max(start, p.lines[p.at(wrong).Line-1])
	}
	open, quote := 0, byte(0)
	for i := begin; i < len(p.src) && p.src[i] != '\n'; i++ {
		switch c := p.src[i]; {
		case quote == 0 && c == '#':
			return 0, false
		case quote == 0 && (c == '"' || c == '\''):
			open, quote = i, c
		case quote == '"' && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		}
	}
	return open, quote != 0
}

// quoted is text as the operator should write it, one pair of quotes at most.
func quoted(s string) string {
	s = strings.TrimSpace(strings.SplitN(s, " #", 2)[0])
	if strings.HasPrefix(s, "[") {
		return cut(s)
	}
	return strconv.Quote(cut(strings.Trim(s, `"'`)))
}

// isKey reports whether text is a bare or quoted key.
func isKey(s string) bool {
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return utf8.ValidString(s)
	}
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}
