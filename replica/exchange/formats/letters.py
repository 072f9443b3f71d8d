"""How much a text looks like something that people write: the evidence for an encoding that bytes alone do not give.

A wrong encoding of the right family still decodes; it shows as letters that no one language has together, as symbols inside
words, as ideographs that nobody uses. One test each:

1. Text of a language scores high in its own encoding, and lower in every other that reads it differently.
2. A symbol inside a word, a capital after a small letter, and scripts mixed in one word count against a text.
"""

from __future__ import annotations

from typing import Final

_ALPHABETS: Final = tuple(
    frozenset(letters)
    for letters in (
        "äöüß",  # German
        "éèêëàâçîïôùûüœæñ",  # French
        "áéíóúñüºª",  # Spanish
        "áâãàçéêíóôõúüºª",  # Portuguese
        "àèéìíòóùú",  # Italian
        "àçèéíïòóúüñ",  # Catalan
        "åäöøæéüèà",  # Swedish, Danish, Norwegian, Finnish
        "áðéíóúýþæö",  # Icelandic
        "äöõüšž",  # Estonian
        "éëïöüèêáóíçà",  # Dutch
        "çğıİöşüâîû",  # Turkish
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýžäĺľŕôöü",  # Czech, Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîșşțţ",  # Romanian
        "čćđšž",  # Croatian, Slovene
        "āčēģīķļņšūž",  # Latvian
        "ąčęėįšųūž",  # Lithuanian
        "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґљњћђџјў",  # Cyrillic
        "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",  # Greek
        "אבגדהוזחטיךכלםמןנסעףפץצקרשת",  # Hebrew
        "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژگ",  # Arabic, Persian
    )
)

_COMMON: Final = frozenset(
    # Surnames, given names, places, firms, functions: what tables of people and firms are made of; both ways of writing.
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许邓冯韩曹曾彭萧蔡潘田董袁于余叶蒋杜苏魏程吕丁沈任姚卢姜崔钟谭陆汪范金石廖贾夏"
    "韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤张劉陳楊黃趙吳孫馬鄭謝許鄧馮韓蕭葉蔣蘇魏呂盧鍾譚陸範賈韋鄒龍"
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂文华玉红国建志海小晓婷雪飞鹏宇浩佳欣子怡美志偉麗強軍勇豔傑濤蘭剛華紅國建曉飛鵬怡雅惠淑俊家豪"
    "北京上海天津重庆广州深圳杭南成都武汉西安苏州青岛大连厦门长沙宁波省市区县镇村路街道号楼室中山东四川湖河浙福建安徽云贵陕甘新疆内蒙古"
    "臺台灣高雄中新竹縣鄉鎮區號樓段巷弄廣東慶廈門長雲貴陝"
    "公司有限责任股份集团科技技术贸易实业电子信息网络软件工程建设发展管理服务咨询投资产品销售客户联系人电话手机邮箱地址姓名性别男女日期时间备注名称编号"
    "類類責團術貿實業電網軟體發務詢資產銷戶聯繫話機郵稱編號經總部職位狀態金額數量單價合同訂商業機會來源負創更改經理總裁董事長主任職員"
    "经总部门职位状态额数量单价订商机会来源负责创更改理裁事主任员的一是不在有我他这为之大来以个们到说国和地也得就那要下出生能作用学自行对可过好"
    "一二三四五六七八九十百千万元年月日先生小姐女士客"
    "東京都大阪府県区市町村丁目番地株式会社営業部長課佐藤鈴木高橋田中渡辺伊山本村小林加吉松井上清水斎藤氏名電話郵便住所様御"
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진지나엄채원천방공현함변염석선설마길연위표명기반라왕금옥육인맹제모"
    "서울부산대구광주시도로길회사주식전화이름주소번호영수철희민준서연지은경호미정상현"
)

_FINE: Final = frozenset("€–—‘’“”„…°§«»©®™·•£№×½²³±¡¿ª、。，．：；（）「」『』・ー【】《》！？～　\xa0\u2003")
_INSIDE: Final = frozenset("’·ー・°")
_RARE: Final = frozenset("бгжзйпуфхцчшщъыьэюяёіїєґљњћђџјўβγδζθμξφχψωϊϋΐΰ")
"""Letters of Cyrillic and Greek that make up little of a text: one alphabet read as the other is full of them."""
_FOREIGN: Final = 0.15
"""Worth of a letter that the rest of the text's language does not have."""


def plausible(text: str) -> tuple[float, int]:
    """(how much the letters beyond ASCII look like one language, 0 to 1; how many of them there are)."""
    worth: dict[str, float] = {}
    count = 0
    latin = 0.0
    letters: dict[str, float] = {}
    last = len(text) - 1
    for i, char in enumerate(text):
        if char < "\x80":
            continue
        count += 1
        before, after = text[i - 1] if i else " ", text[i + 1] if i < last else " "
        factor = _context(char, before, after)
        if char.isalpha() and char < "\u0700":
            lower = char.lower() if char != "İ" else char
            letters[lower] = letters.get(lower, 0.0) + factor
        else:
            value = worth.get(char)
            if value is None:
                value = worth[char] = _worth(char)
            latin += value * factor
    if not count:
        return 1.0, 0
    best = max(
        sum(weight * ((0.6 if c in _RARE else 1) if c in own else _FOREIGN) for c, weight in letters.items())
        for own in _ALPHABETS
    )
    return min(1.0, (latin + best) / count), count


def _context(char: str, before: str, after: str) -> float:
    near = (before.isascii() and before.isalpha()) + (after.isascii() and after.isalpha())
    if char >= "\u2e80":
        return 0.1 if near == 2 else 0.7 if near and not before.isdigit() else 1.0
    if char.isalpha():
        if char >= "\u0370" and near:
            return 0.1
        if char.isupper() and before.islower():
            return 0.2
        return 0.4 if char.islower() and before.isupper() and after.isupper() else 1.0
    return 0.1 if before.isalpha() and after.isalpha() and char not in _INSIDE else 1.0


def _worth(char: str) -> float:
    if char in _COMMON:
        return 1.0
    if char in _FINE:
        return 0.6
    code = ord(char)
    if 0x3041 <= code <= 0x30FA:
        return 0.95
    if 0xAC00 <= code <= 0xD7A3:
        return _level(char, "euc_kr", 0xB0, 0xC8, 0.6)
    if 0x4E00 <= code <= 0x9FFF:
        return max(
            _level(char, "gb2312", 0xB0, 0xD7, 0.55), _level(char, "big5", 0xA4, 0xC6, 0.55),
            _level(char, "shift_jis", 0x88, 0x97, 0.5),
        )  # fmt: skip
    if 0x0E01 <= code <= 0x0E5B or 0xFF01 <= code <= 0xFF5E:
        return 0.6
    return 0.0


def _level(char: str, codec: str, first: int, last: int, value: float) -> float:
    """Standards of ideographs put the usual ones first, the rare ones behind."""
    try:
        lead = char.encode(codec)[0]
    except UnicodeEncodeError:
        return 0.0
    return value if first <= lead <= last else value * 0.25
