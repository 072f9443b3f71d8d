"""A made-up CRM: companies, people, deals and what was done about them, in Chinese and in European languages.

Nothing here is anybody's data. One test each:
1. The same seed and size yield the same rows, byte for byte, on every machine and in every run.
2. Every row satisfies SCHEMA, foreign keys included, in the order in which the batches come.
3. `contacts` scales the rest: a fifth as many accounts, three tenths as many deals, eight tenths activities.
4. Nothing reads the clock or a global source of chance; the newest date is fixed by EPOCH.
"""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SCHEMA = """
CREATE TABLE accounts (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    vat_number  TEXT UNIQUE,
    industry    TEXT,
    street      TEXT,
    postcode    TEXT,
    city        TEXT,
    country     TEXT NOT NULL,
    website     TEXT,
    created_at  TEXT NOT NULL
);
CREATE TABLE contacts (
    id          TEXT PRIMARY KEY,
    account_id  TEXT REFERENCES accounts (id),
    name        TEXT NOT NULL,
    title       TEXT,
    email       TEXT,
    phone       TEXT,
    city        TEXT,
    language    TEXT NOT NULL DEFAULT 'en',
    notes       TEXT,
    updated_at  TEXT NOT NULL
);
CREATE INDEX contacts_by_account ON contacts (account_id);
CREATE TABLE deals (
    id          TEXT PRIMARY KEY,
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    contact_id  TEXT REFERENCES contacts (id),
    title       TEXT NOT NULL,
    stage       TEXT NOT NULL CHECK (stage IN ('lead', 'qualified', 'proposal', 'won', 'lost')),
    amount      REAL NOT NULL CHECK (amount >= 0),
    currency    TEXT NOT NULL,
    closes_on   TEXT
);
CREATE TABLE activities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    contact_id  TEXT NOT NULL REFERENCES contacts (id),
    kind        TEXT NOT NULL CHECK (kind IN ('call', 'e-mail', 'meeting', 'note')),
    happened_at TEXT NOT NULL,
    summary     TEXT
);
CREATE INDEX activities_by_contact ON activities (contact_id);
"""

EPOCH = datetime(2025, 6, 30, 18, 0, tzinfo=UTC)  # "today" in this world: nothing is newer
HISTORY_DAYS = 1_200  # how far back the oldest row goes
BATCH_ROWS = 1_000  # large enough for executemany, small enough to hold
STAGES = ("lead", "qualified", "proposal", "won", "lost")
INDUSTRIES = ("Logistics", "Maschinenbau", "医疗器械", "Agroalimentaire", "Energía solar", "电子制造",
              "Software", "Textil", "新能源", "Bauwesen")  # fmt: skip

_ACCOUNTS = "id name vat_number industry street postcode city country website created_at"
_CONTACTS = "id account_id name title email phone city language notes updated_at"
_DEALS = "id account_id contact_id title stage amount currency closes_on"
_ACTIVITIES = "contact_id kind happened_at summary"  # the id is SQLite's to choose

Row = tuple[object, ...]
Batch = tuple[str, list[str], list[Row]]


class City(NamedTuple):
    name: str
    streets: tuple[str, ...]
    postcodes: range
    area_code: str


class Land(NamedTuple):
    """One country's way of naming people, companies and streets."""

    code: str
    language: str
    currency: str
    dial: str
    vat: str  # each # is a digit
    domain: str  # under .example, which nobody can own
    postcode: str  # format of a postcode number
    address: str  # how street and house number are joined
    family_first: bool
    given: tuple[str, ...]
    family: tuple[tuple[str, str], ...]  # (as written, as in an e-mail address)
    cities: tuple[City, ...]
    company: tuple[str, ...]  # patterns over {family}, {city}, {word}
    words: tuple[str, ...]
    titles: tuple[str, ...]
    notes: tuple[str, ...]


def _latin(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, name.lower().translate(_ASCII)) for name in names)


_ASCII = str.maketrans({
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "ë": "e", "ç": "c", "ô": "o", "á": "a",
    "í": "i", "ó": "o", "ú": "u", "ñ": "n", "ł": "l", "ą": "a", "ę": "e", "ś": "s", "ń": "n", "ż": "z",
    "ć": "c", "ź": "z", "à": "a", "ò": "o", " ": "", "'": "", "’": "", "-": "-",
})  # fmt: skip

LANDS = (
    Land(
        "CN", "zh", "CNY", "+86", "91################", "cn.example", "{:06d}", "{street}{number}号", True,
        ("伟", "芳", "秀英", "娜", "敏", "静", "建国", "丽", "强", "磊", "洋", "艳", "勇", "志强", "雪梅",
         "浩然", "子涵", "欣怡", "宇轩", "梓萱", "俊杰", "晓东", "婷婷", "思远", "嘉怡", "国华"),
        (("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"),
         ("赵", "zhao"), ("黄", "huang"), ("周", "zhou"), ("吴", "wu"), ("徐", "xu"), ("孙", "sun"),
         ("马", "ma"), ("欧阳", "ouyang"), ("林", "lin"), ("何", "he"), ("郭", "guo"), ("罗", "luo")),
        (City("上海", ("南京西路", "淮海中路", "世纪大道"), range(200_000, 202_000), "21"),
         City("深圳", ("深南大道", "科技南路", "滨海大道"), range(518_000, 518_150), "755"),
         City("杭州", ("文三路", "延安路", "天目山路"), range(310_000, 311_200), "571"),
         City("成都", ("人民南路", "天府大道", "春熙路"), range(610_000, 611_700), "28"),
         City("北京", ("建国门外大街", "中关村大街", "长安街"), range(100_000, 102_600), "10")),
        ("{city}{word}科技有限公司", "{city}{word}贸易有限公司", "{word}集团股份有限公司",
         "{family}氏{word}实业有限公司"),
        ("华信", "恒达", "远东", "瑞丰", "中泰", "鼎盛", "海纳", "天成", "博雅", "金桥", "明辉", "新锐"),
        ("总经理", "采购经理", "销售总监", "财务主管", "工程师", "行政助理"),
        ("下周回电话", "展会上认识的,对报价感兴趣", "偏好微信联系", "合同将于年底续签"),
    ),
    Land(
        "DE", "de", "EUR", "+49", "DE#########", "de.example", "{:05d}", "{street} {number}", False,
        ("Jürgen", "Anna", "Björn", "Käthe", "Lukas", "Sophie", "Götz", "Mareike", "Uwe", "Heike", "Jonas",
         "Leonie", "Ömer", "Friederike"),
        _latin("Müller", "Schmidt", "Schäfer", "Weiß", "Köhler", "Krüger", "Vogel", "Böhm", "Groß", "Jäger",
               "Schröder", "Fuchs", "Kühn", "Neumann"),
        (City("München", ("Leopoldstraße", "Sendlinger Straße"), range(80_331, 81_930), "89"),
         City("Köln", ("Aachener Straße", "Hohe Straße"), range(50_667, 51_150), "221"),
         City("Düsseldorf", ("Königsallee", "Grafenberger Allee"), range(40_210, 40_630), "211")),
        ("{family} {word} GmbH", "{word}werk {city} AG", "{family} & Söhne KG"),
        ("Präzision", "Förder", "Stahl", "Licht", "Kälte", "Antrieb", "Mess", "Holz"),
        ("Geschäftsführer", "Einkaufsleiterin", "Vertrieb Süd", "Buchhaltung"),
        ("Rückruf nach Ostern", "Bitte nur per E-Mail", "Rahmenvertrag läuft aus"),
    ),
    Land(
        "FR", "fr", "EUR", "+33", "FR###########", "fr.example", "{:05d}", "{number}, {street}", False,
        ("Chloé", "Jérôme", "Zoé", "François", "Hélène", "Benoît", "Maëlys", "Théo", "Camille", "Anaïs",
         "Loïc"),
        _latin("Lefèvre", "Dubois", "Moreau", "Garçon", "Bérard", "Rousseau", "Côte", "d'Aubigné", "Mercier",
               "Lambert", "René-Laurent"),
        (City("Lyon", ("rue de la République", "cours Lafayette"), range(69_001, 69_010), "4"),
         City("Nîmes", ("boulevard Gambetta", "rue de l’Étoile"), range(30_000, 30_001), "4"),
         City("Besançon", ("Grande Rue", "rue de Belfort"), range(25_000, 25_001), "3")),
        ("{word} {family} SARL", "Ateliers {family}", "{word} de {city} SA"),
        ("Imprimerie", "Fonderie", "Pâtisserie", "Transports", "Négoce", "Câblerie"),
        ("Directrice générale", "Responsable achats", "Chargé d’affaires"),
        ("Préfère être rappelée l’après-midi", "Devis envoyé, à relancer", "Rencontré à Genève"),
    ),
    Land(
        "ES", "es", "EUR", "+34", "ESB########", "es.example", "{:05d}", "{street}, {number}", False,
        ("Íñigo", "Begoña", "José", "María", "Lucía", "Ángel", "Nuria", "Martín", "Inés", "Óscar"),
        _latin("García", "Núñez", "Martínez", "Ibáñez", "López", "Muñoz", "Peña", "Jiménez", "Ordóñez"),
        (City("Málaga", ("calle Larios", "avenida de Andalucía"), range(29_001, 29_019), "95"),
         City("A Coruña", ("calle Real", "rúa da Torre"), range(15_001, 15_012), "98")),
        ("{word} {family} S.L.", "Hermanos {family} S.A."),
        ("Exportaciones", "Cítricos", "Diseño", "Aceites", "Señalización"),
        ("Directora comercial", "Jefe de compras", "Administración"),
        ("Llamar mañana", "Prefiere WhatsApp", "Pendiente de firma"),
    ),
    Land(
        "PL", "pl", "PLN", "+48", "PL##########", "pl.example", "{:05d}", "ul. {street} {number}", False,
        ("Łukasz", "Małgorzata", "Żaneta", "Grzegorz", "Zofia", "Paweł", "Świętosława", "Kamil"),
        _latin("Wójcik", "Kowalczyk", "Zieliński", "Wiśniewski", "Dąbrowski", "Żak", "Gołąb", "Nowak"),
        (City("Łódź", ("Piotrkowska", "Zgierska"), range(90_001, 94_410), "42"),
         City("Kraków", ("Długa", "Świętej Anny"), range(30_001, 31_999), "12")),
        ("{word} {family} Sp. z o.o.", "P.H.U. {family}"),
        ("Meble", "Usługi", "Żegluga", "Szkło", "Książka"),
        ("Prezes zarządu", "Kierownik działu", "Księgowa"),
        ("Oddzwonić w piątek", "Czeka na ofertę", "Stały klient"),
    ),
)
WEIGHTS = (40, 22, 16, 12, 10)  # share of each land in LANDS, in percent

SUMMARIES = {
    "zh": ("电话沟通了价格", "发送了报价单", "拜访客户", "对方要求延期付款"),
    "de": ("Angebot besprochen", "Muster verschickt", "Termin verschoben", "Zahlungsziel geklärt"),
    "fr": ("Devis présenté", "Relance téléphonique", "Visite de l’atelier", "Échantillons reçus"),
    "es": ("Presupuesto enviado", "Reunión en la oficina", "Revisión del contrato", "Señal recibida"),
    "pl": ("Wysłano ofertę", "Rozmowa o cenie", "Spotkanie w Łodzi", "Uzgodniono płatność"),
}
DEALS = {
    "zh": ("年度框架协议", "设备采购", "售后服务合同", "试用项目"),
    "de": ("Rahmenvertrag", "Anlagenerweiterung", "Wartung", "Pilotprojekt für Füllstände"),
    "fr": ("Contrat annuel", "Renouvellement d’équipement", "Essai à façon", "Maintenance"),
    "es": ("Contrato anual", "Ampliación de línea", "Campaña de otoño", "Mantenimiento"),
    "pl": ("Umowa roczna", "Rozbudowa linii", "Zamówienie próbne", "Serwis urządzeń"),
}


class _Account(NamedTuple):
    id: str
    land: Land
    city: City
    host: str


class _Contact(NamedTuple):
    id: str
    account: _Account


def generate(seed: int, contacts: int = 10_000) -> Iterator[Batch]:
    """Yield (table, columns, rows), parents before children."""
    rng = random.Random(seed)
    owners: list[_Account] = []
    people: list[_Contact] = []
    yield from _batches("accounts", _ACCOUNTS, _accounts(rng, max(1, contacts // 5), owners))
    yield from _batches("contacts", _CONTACTS, _contacts(rng, contacts, owners, people))
    if not people:
        return
    yield from _batches("deals", _DEALS, _deals(rng, contacts * 3 // 10, people))
    yield from _batches("activities", _ACTIVITIES, _activities(rng, contacts * 8 // 10, people))


def load(connection: sqlite3.Connection, seed: int, contacts: int = 10_000) -> dict[str, int]:
    """Create SCHEMA in an empty database, fill it in one transaction, and return the rows per table."""
    counts: dict[str, int] = {}
    connection.executescript(SCHEMA)
    with connection:
        for table, columns, rows in generate(seed, contacts):
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            counts[table] = counts.get(table, 0) + len(rows)
    return counts


def _batches(table: str, names: str, rows: Iterator[Row]) -> Iterator[Batch]:
    columns = names.split()
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield table, columns, batch
            batch = []
    if batch:
        yield table, columns, batch


def _accounts(rng: random.Random, count: int, owners: list[_Account]) -> Iterator[Row]:
    taken: set[str] = set()
    for number in range(count):
        land = rng.choices(LANDS, WEIGHTS)[0]
        city = rng.choice(land.cities)
        family, spelled = rng.choice(land.family)
        name = rng.choice(land.company).format(family=family, city=city.name, word=rng.choice(land.words))
        host = f"{spelled}-{number + 1}.{land.domain}"
        vat = _digits(rng, land.vat)
        while vat in taken:
            vat = _digits(rng, land.vat)
        taken.add(vat)
        account = _Account(_uuid(rng), land, city, host)
        owners.append(account)
        yield (
            account.id, name, vat if rng.random() < 0.9 else None, rng.choice(INDUSTRIES),
            land.address.format(street=rng.choice(city.streets), number=rng.randint(1, 240)),
            land.postcode.format(rng.choice(city.postcodes)), city.name, land.code, f"https://www.{host}",
            _moment(rng),
        )  # fmt: skip


def _contacts(
    rng: random.Random, count: int, owners: list[_Account], people: list[_Contact]
) -> Iterator[Row]:
    for number in range(count):
        account = rng.choice(owners)
        land = account.land
        family, spelled = rng.choice(land.family)
        given = rng.choice(land.given)
        name = f"{family}{given}" if land.family_first else f"{given} {family}"
        contact = _Contact(_uuid(rng), account)
        people.append(contact)
        yield (
            contact.id, account.id if rng.random() < 0.95 else None, name, rng.choice(land.titles),
            f"{spelled}{number + 1}@{account.host}", _phone(rng, land, account.city), account.city.name,
            land.language, rng.choice(land.notes) if rng.random() < 0.4 else None, _moment(rng),
        )  # fmt: skip


def _deals(rng: random.Random, count: int, people: list[_Contact]) -> Iterator[Row]:
    for _ in range(count):
        contact = rng.choice(people)
        land = contact.account.land
        closes = EPOCH.date() + timedelta(days=rng.randint(-300, 300))
        yield (
            _uuid(rng), contact.account.id, contact.id, rng.choice(DEALS[land.language]), rng.choice(STAGES),
            rng.randint(50_000, 25_000_000) / 100, land.currency,
            closes.isoformat() if rng.random() < 0.8 else None,
        )  # fmt: skip


def _activities(rng: random.Random, count: int, people: list[_Contact]) -> Iterator[Row]:
    for _ in range(count):
        contact = rng.choice(people)
        summary = rng.choice(SUMMARIES[contact.account.land.language])
        yield contact.id, rng.choice(("call", "e-mail", "meeting", "note")), _moment(rng), summary


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _digits(rng: random.Random, pattern: str) -> str:
    return "".join(str(rng.randrange(10)) if letter == "#" else letter for letter in pattern)


def _moment(rng: random.Random) -> str:
    past = timedelta(seconds=rng.randrange(HISTORY_DAYS * 86_400))
    return (EPOCH - past).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phone(rng: random.Random, land: Land, city: City) -> str:
    if land.code == "CN" and rng.random() < 0.7:
        return f"{land.dial} 1{rng.choice('3578')}{_digits(rng, '# #### ####')}"
    return f"{land.dial} {city.area_code} {_digits(rng, '#### ####' if land.code == 'CN' else '### ####')}"
